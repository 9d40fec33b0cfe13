"""One result folder as people look at it: scores, controls, single answers.

In: a folder that `evaluate` wrote. Out: `Result`. Scores and answers are taken as they were
written (`lavaflow score` computes them anew); only a control whose scores are not in the record is
computed here. Records of later versions may hold fields that are unknown here; they are left out.
"""

from dataclasses import dataclass
from pathlib import Path

from components.core.config import parse
from components.core.errors import ConfigError
from components.evaluation.benchmark import get_benchmark
from components.evaluation.config import BenchmarkScores
from components.evaluation.files import field, read_json, read_jsonl
from components.evaluation.score_table import is_comparable
from components.evaluation.scoring.comparison import target_text
from components.evaluation.scoring.score import (
    BLIND_PREDICTIONS,
    PREDICTIONS,
    SCORES,
    TEXT_ONLY_PREDICTIONS,
    score_predictions,
)


@dataclass(frozen=True)
class Control:
    """The score without the right images, in percent, and what the images add to it."""

    percent: float
    low: float | None
    high: float | None
    difference: float | None
    """Score minus control."""
    difference_low: float | None
    difference_high: float | None


@dataclass(frozen=True)
class AnsweredQuestion:
    """One question with what the model said."""

    question_id: str
    prompt: str
    target: str
    raw: str | None
    """None where there is no answer."""
    answer: str
    """Parsed."""
    score: float
    has_image: bool
    blind_raw: str | None
    """What it said to another question's image; None without that control."""


@dataclass(frozen=True)
class Result:
    scores: BenchmarkScores
    full_maximum: float
    """Largest score on the complete benchmark, in its own unit."""
    blind: Control | None
    text_only: Control | None
    answers: tuple[AnsweredQuestion, ...]

    @property
    def title(self) -> str:
        return self.scores.title or self.scores.benchmark

    @property
    def comparable(self) -> bool:
        """False where the score may not stand beside published ones."""
        return is_comparable(self.scores)

    @property
    def is_part(self) -> bool:
        return self.scores.score_maximum < self.full_maximum

    @property
    def tags(self) -> list[str]:
        """What spoils a comparison, as marks behind the title."""
        found = [] if self.comparable else ["not comparable"]
        found += ["part"] if self.is_part else []
        return found + (["incomplete"] if self.scores.num_missing else [])

    def published_percents(self) -> dict[str, float]:
        """Return published scores in percent by model; none for a score that is not comparable."""
        if not self.comparable:
            return {}
        return {
            name: 100.0 * value / self.full_maximum for name, value in self.scores.published.items()
        }


def read_result(folder: str | Path) -> Result:
    """Return the result in a folder. Raises DataError for files it cannot use."""
    path = Path(folder)
    record = read_json(path / SCORES) if (path / SCORES).exists() else {}
    if record:
        known = {key: value for key, value in record.items() if key in BenchmarkScores.model_fields}
        scores = parse(BenchmarkScores, known, str(path / SCORES))
    else:
        scores = score_predictions(path)
    try:
        full_maximum = get_benchmark(scores.benchmark).full_maximum
    except ConfigError:  # of another version of this code
        full_maximum = scores.score_maximum
    controls = scores
    if scores.text_only_percent is None and (path / TEXT_ONLY_PREDICTIONS).exists():
        controls = score_predictions(path)
    return Result(
        scores=scores,
        full_maximum=full_maximum,
        blind=_control(scores, "blind", "difference"),
        text_only=_control(controls, "text_only", "text_only_difference"),
        answers=_answers(path),
    )


def _control(scores: BenchmarkScores, name: str, apart: str) -> Control | None:
    ends = ("percent", "ci_low", "ci_high")
    values = [getattr(scores, f"{key}_{end}") for key in (name, apart) for end in ends]
    return None if values[0] is None else Control(*values)


def _answers(path: Path) -> tuple[AnsweredQuestion, ...]:
    blind: dict[str, str | None] = {}
    if (path / BLIND_PREDICTIONS).exists():
        rows = read_jsonl(path / BLIND_PREDICTIONS)
        blind = {str(row.get("question_id")): row.get("raw") for row in rows}
    answers = []
    for number, row in enumerate(read_jsonl(path / PREDICTIONS), start=1):
        where = f"{path / PREDICTIONS}:{number}"
        key = str(field(row, "question_id", where))
        answers.append(
            AnsweredQuestion(
                question_id=key,
                prompt=str(field(row, "prompt", where)),
                target=target_text(row.get("target")),
                raw=row.get("raw"),
                answer=str(row.get("answer", "")),
                score=float(row.get("score") or 0.0),
                has_image=row.get("image") is not None,
                blind_raw=blind.get(key),
            )
        )
    return tuple(answers)
