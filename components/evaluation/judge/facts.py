"""By whom predictions were judged, and what a reader of the score must know about it.

In: predictions with or without judgements. Out: the judge's name, its wording, what failed, a note.
It asks no judge (see judge.py) and computes no score.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from components.core.errors import DataError
from components.evaluation.benchmark import Benchmark, JudgedBenchmark, Judgement, Prediction


@dataclass(frozen=True)
class JudgeFacts:
    """The judge of a set of predictions; empty where none was asked."""

    model: str = ""
    prompt: str = ""
    num_failures: int = 0
    note: str = ""


def judged_by(
    benchmark: Benchmark,
    predictions: Sequence[Prediction],
    controls: Sequence[Prediction] = (),
) -> JudgeFacts:
    """Return who judged the predictions, and how many of the judgements cannot be used.

    Failures of the controls' predictions are told in the note alone.
    """
    found = [(p.question, j) for p in predictions for j in p.judgements]
    if not found or not isinstance(benchmark, JudgedBenchmark):
        return JudgeFacts()
    failed_controls = sum(
        benchmark.grade((j,), p.question) is None for p in controls for j in p.judgements
    )
    model = " and ".join(sorted({judgement.model for _, judgement in found}))
    prompt = " and ".join(sorted({judgement.prompt for _, judgement in found}))
    failed = [j for question, j in found if benchmark.grade((j,), question) is None]
    unread = sum(not judgement.error for judgement in failed)
    others = sorted({j.answered_by for _, j in found if j.answered_by})
    parts = (
        f"{len(failed)} of {len(found)} judgements failed ({unread} without a grade, "
        f"{len(failed) - unread} not to be had) and are left out"
        if failed
        else "",
        f"{failed_controls} judgements of the controls failed" if failed_controls else "",
        f"judged by {model} ({prompt})",
        f"the endpoint calls itself {' and '.join(others)}" if others else "",
        ""
        if model == benchmark.official_judge
        else f"the published figures were judged by {benchmark.official_judge}",
    )
    return JudgeFacts(model, prompt, len(failed), "; ".join(part for part in parts if part))


def comparable_judges(a: JudgeFacts, b: JudgeFacts, a_path: str, b_path: str) -> None:
    """Raise DataError when two sets of predictions were not judged alike."""
    if (a.model, a.prompt) != (b.model, b.prompt):
        by = [f"{s.model} ({s.prompt})" if s.model else "no judge (offline proxy)" for s in (a, b)]
        raise DataError(
            f"{a_path} was judged by {by[0]}, {b_path} by {by[1]}; "
            f"compare runs with the same judge and the same wording"
        )


def read_judgements(rows: Any, where: str) -> tuple[Judgement, ...]:
    """Return the judgements of a row of a predictions file."""
    try:
        return tuple(
            Judgement(
                str(row["model"]),
                str(row["prompt"]),
                tuple(map(str, row["replies"])),
                str(row.get("error", "")),
                str(row.get("answered_by", "")),
            )
            for row in rows
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{where}: 'judgements' is not a list of objects with model, prompt and replies "
            f"({error!r}); evaluate again"
        ) from None
