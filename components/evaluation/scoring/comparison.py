"""Two models on the same questions: differences with intervals, and the questions that changed.

In: two lists of folders that `evaluate` wrote. Out: `ModelComparison`, which is a record (JSON) and
a table; pages/comparison.py makes a page of it. Scores are computed anew from raw outputs, so both
sides are scored by the same code. It asks no model.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from rich.table import Table
from rich.text import Text

from components.core.config import Config
from components.core.errors import DataError
from components.core.logs import new_table
from components.evaluation.benchmark import Benchmark, FloatArray, Prediction
from components.evaluation.judge.facts import comparable_judges, judged_by
from components.evaluation.scoring.score import read_predictions
from components.evaluation.scoring.statistics import compare, holm

LEVEL = 0.05

Verdict = Literal["better", "worse", "unclear"]


class ChangedQuestion(Config):
    """A question that the two models score differently."""

    question_id: str
    prompt: str
    target: str
    """As text; several human answers are separated by `|`, each with its number."""
    a_raw: str | None
    """Raw output; None where there is none."""
    b_raw: str | None
    a_answer: str
    """Parsed answer."""
    b_answer: str
    a_score: float
    b_score: float


class BenchmarkComparison(Config):
    """B against A on one benchmark; percents of the largest score possible."""

    benchmark: str
    title: str
    headline_name: str
    a_percent: float
    b_percent: float
    difference_percent: float
    """B minus A."""
    ci_low: float
    ci_high: float
    """95% interval of the difference, paired by cluster."""
    p_value: float
    """Two-sided, of this benchmark alone."""
    p_corrected: float
    """After Holm's correction over all benchmarks of the comparison."""
    num_questions: int
    gained: tuple[ChangedQuestion, ...]
    """Questions that B scores higher (wrong in A, right in B)."""
    lost: tuple[ChangedQuestion, ...]
    """Questions that B scores lower (right in A, wrong in B)."""

    @property
    def verdict(self) -> Verdict:
        """`better` or `worse` where the corrected p-value is at most 0.05; `unclear` does not mean
        that the models are equal, the interval says how far apart they may be.
        """
        if self.p_corrected > LEVEL:
            return "unclear"
        return "better" if self.difference_percent > 0 else "worse"


class ModelComparison(Config):
    """Two models on all benchmarks that both were asked."""

    a_name: str
    b_name: str
    rows: tuple[BenchmarkComparison, ...]
    only_a: tuple[str, ...] = ()
    """Benchmarks without results of B."""
    only_b: tuple[str, ...] = ()


def compare_models(
    a_folders: Sequence[str | Path],
    b_folders: Sequence[str | Path],
    a_name: str = "A",
    b_name: str = "B",
    samples: int = 2000,
    seed: int = 0,
) -> ModelComparison:
    """Return B minus A for each benchmark that both have, in the order of A's folders.

    Raises DataError when no benchmark is in both, one is twice on a side, or the questions of one
    differ.
    """
    a, b = _by_benchmark(a_folders), _by_benchmark(b_folders)
    shared = [name for name in a if name in b]
    if not shared:
        raise DataError(
            f"no benchmark was asked of both: {a_name} has {', '.join(a) or 'none'}; "
            f"{b_name} has {', '.join(b) or 'none'}"
        )
    rows = [_compared(a[name], b[name], samples, seed) for name in shared]
    corrected = holm([row.p_value for row in rows])
    return ModelComparison(
        a_name=a_name,
        b_name=b_name,
        rows=tuple(row.with_(p_corrected=p) for row, p in zip(rows, corrected, strict=True)),
        only_a=tuple(name for name in a if name not in b),
        only_b=tuple(name for name in b if name not in a),
    )


def comparison_table(comparison: ModelComparison) -> Table:
    """Return one row per benchmark; p is corrected over all of them, `+ / -` counts the questions
    that B scores higher and lower.
    """
    table = new_table(
        f"B = {comparison.b_name} against A = {comparison.a_name}, 0 to 100",
        caption=correction_note(comparison),
    )
    table.add_column("benchmark")
    for name in ("A", "B", "B - A", "95% interval", "p", "+ / -"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("B is", no_wrap=True)
    for row in comparison.rows:
        table.add_row(
            row.title,
            f"{row.a_percent:.1f}",
            f"{row.b_percent:.1f}",
            f"{row.difference_percent:+.1f}",
            f"{row.ci_low:+.1f} to {row.ci_high:+.1f}",
            p_text(row.p_corrected),
            f"{len(row.gained):,} / {len(row.lost):,}",
            row.verdict,
        )
    return table


def changed_table(row: BenchmarkComparison, most: int = 20) -> Table:
    """Return the questions that changed, lost ones first, at most so many of each kind."""
    table = new_table(f"{row.title}: questions that changed")
    for name in ("", "question", "prompt", "target", "A", "B"):
        table.add_column(name, overflow="fold")
    for kind, questions in (("lost", row.lost), ("gained", row.gained)):
        for each in questions[:most]:
            cells = (each.question_id, each.prompt.split("\n")[0], each.target)
            answers = (
                "(no answer)" if raw is None else raw or "(empty)"
                for raw in (each.a_raw, each.b_raw)
            )
            # Text, not markup: a model's output may hold brackets.
            table.add_row(kind, *(Text(cell) for cell in (*cells, *answers)))
        if len(questions) > most:
            table.add_row(kind, Text(f"and {len(questions) - most:,} more"))
    return table


def correction_note(comparison: ModelComparison) -> str:
    """Return what the p-values mean, in one sentence."""
    count = len(comparison.rows)
    return (
        "p: permutation test that the two do not differ"
        + (f", Holm's correction over {count} benchmarks" if count > 1 else "")
        + f"; better or worse where p is at most {LEVEL}"
    )


def p_text(p_value: float) -> str:
    """Return a p-value with as many digits as say something."""
    return "<0.001" if p_value < 0.001 else f"{p_value:.3f}" if p_value < 0.1 else f"{p_value:.2f}"


def target_text(target: Any) -> str:
    """Return a target as one line: human answers with how many gave them, the most frequent first;
    text as it is; anything else as JSON.
    """
    if isinstance(target, str):
        return target
    if isinstance(target, list) and target and all(isinstance(each, str) for each in target):
        counts: dict[str, int] = {}
        for each in target:
            counts[each] = counts.get(each, 0) + 1
        ordered = sorted(counts.items(), key=lambda item: -item[1])
        return " | ".join(f"{text} ({count})" if count > 1 else text for text, count in ordered)
    return json.dumps(target, ensure_ascii=False)


def _by_benchmark(
    folders: Sequence[str | Path],
) -> dict[str, tuple[Benchmark, list[Prediction], str]]:
    found: dict[str, tuple[Benchmark, list[Prediction], str]] = {}
    for folder in folders:
        benchmark, predictions = read_predictions(folder)
        if benchmark.name in found:
            raise DataError(
                f"{folder} and {found[benchmark.name][2]} are both of {benchmark.name}; give one "
                f"folder per benchmark and side"
            )
        found[benchmark.name] = (benchmark, predictions, str(folder))
    return found


def _compared(
    a_side: tuple[Benchmark, list[Prediction], str],
    b_side: tuple[Benchmark, list[Prediction], str],
    samples: int,
    seed: int,
) -> BenchmarkComparison:
    benchmark, a, a_folder = a_side
    other, b, b_folder = b_side
    comparable_judges(judged_by(benchmark, a), judged_by(other, b), a_folder, b_folder)
    pairs = _paired(a, b, a_folder, b_folder)
    counts_a, counts_b = benchmark.count(a), benchmark.count(b)
    totals = counts_a.table.sum(axis=0)
    maximum = benchmark.maximum(totals)
    if maximum == 0:
        raise DataError(
            f"{a_folder}: none of the questions counts for the score of {benchmark.name}"
        )

    def percent(sums: FloatArray) -> FloatArray:
        return 100.0 * benchmark.headline(sums) / maximum

    found = compare(counts_b, counts_a, percent, samples, seed)
    return BenchmarkComparison(
        benchmark=benchmark.name,
        title=benchmark.title,
        headline_name=benchmark.headline_name,
        a_percent=float(percent(totals)),
        b_percent=float(percent(counts_b.table.sum(axis=0))),
        difference_percent=found.difference,
        ci_low=found.low,
        ci_high=found.high,
        p_value=found.p_value,
        p_corrected=found.p_value,
        num_questions=len(a),
        gained=tuple(_changed(x, y) for x, y in pairs if y.score > x.score),
        lost=tuple(_changed(x, y) for x, y in pairs if y.score < x.score),
    )


def _paired(
    a: Sequence[Prediction], b: Sequence[Prediction], a_folder: str, b_folder: str
) -> list[tuple[Prediction, Prediction]]:
    """Return the predictions of the two side by side, joined by question."""
    others = {prediction.question.id: prediction for prediction in b}
    apart = {prediction.question.id for prediction in a} ^ set(others)
    if apart:
        raise DataError(
            f"{len(apart)} questions are in only one of {a_folder} and {b_folder}, such as "
            f"{min(apart)!r}; compare runs with the same limit and the same files"
        )
    pairs = [(prediction, others[prediction.question.id]) for prediction in a]
    for mine, other in pairs:
        if mine.question.prompt != other.question.prompt:
            raise DataError(
                f"question {mine.question.id!r} is put as {mine.question.prompt!r} in {a_folder} "
                f"and as {other.question.prompt!r} in {b_folder}; compare runs over the same files"
            )
    return pairs


def _changed(a: Prediction, b: Prediction) -> ChangedQuestion:
    return ChangedQuestion(
        question_id=a.question.id,
        prompt=a.question.prompt,
        target=target_text(a.question.target),
        a_raw=a.raw,
        b_raw=b.raw,
        a_answer=a.answer,
        b_answer=b.answer,
        a_score=a.score,
        b_score=b.score,
    )
