"""Models of one recipe trained with several seeds: mean and deviation of a score.

In: folders that `evaluate` wrote, all of one benchmark and the same questions, one per seed. Out:
`SeedSummary`. The interval of a single score says how it would vary with other questions; these say
how it varies with another seed of training, on these questions.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from components.core.errors import DataError
from components.core.logs import new_table
from components.evaluation.judge.facts import JudgeFacts, comparable_judges, judged_by
from components.evaluation.scoring.score import read_predictions
from components.evaluation.scoring.statistics import t_quantile


@dataclass(frozen=True)
class SeedSummary:
    """One benchmark over n seeds, in percent of the largest score possible."""

    benchmark: str
    title: str
    percents: tuple[float, ...]
    """One score per seed, in the order given."""
    mean: float
    deviation: float | None
    """Standard deviation of a single seed (n - 1 below the root); None for one seed."""
    low: float | None
    high: float | None
    """95% interval of the mean (Student's); None for one seed."""

    @property
    def num_seeds(self) -> int:
        return len(self.percents)


def summarise_seeds(folders: Sequence[str | Path]) -> SeedSummary:
    """Return mean and deviation over result folders of one benchmark, one folder per seed.

    Raises DataError for no folder, two benchmarks, or different questions.
    """
    benchmark, title, percents = _read(folders)
    count = len(percents)
    mean = math.fsum(percents) / count
    if count == 1:
        return SeedSummary(benchmark, title, percents, mean, None, None, None)
    deviation = math.sqrt(math.fsum((each - mean) ** 2 for each in percents) / (count - 1))
    half = t_quantile(count - 1) * deviation / math.sqrt(count)
    return SeedSummary(benchmark, title, percents, mean, deviation, mean - half, mean + half)


def seeds_table(summaries: Sequence[SeedSummary]) -> Table:
    """Return one row per benchmark: mean, deviation, n, and the single scores."""
    table = new_table("Scores over seeds, 0 to 100")
    table.add_column("benchmark")
    for name in ("n", "mean", "deviation", "95% of mean", "each seed"):
        table.add_column(name, justify="right")
    for row in summaries:
        table.add_row(
            row.title,
            str(row.num_seeds),
            f"{row.mean:.1f}",
            "-" if row.deviation is None else f"{row.deviation:.2f}",
            "-" if row.low is None else f"{row.low:.1f} - {row.high:.1f}",
            "  ".join(f"{percent:.1f}" for percent in row.percents),
        )
    return table


def _read(folders: Sequence[str | Path]) -> tuple[str, str, tuple[float, ...]]:
    """Return name and title of the folders' benchmark and the score of each in percent."""
    if not folders:
        raise DataError("no result folder given; name one folder per seed")
    percents: list[float] = []
    asked: dict[str, str] = {}
    name = title = ""
    first = JudgeFacts()
    for folder in folders:
        benchmark, predictions = read_predictions(folder)
        questions = {each.question.id: each.question.prompt for each in predictions}
        if not percents:
            name, title, asked = benchmark.name, benchmark.title, questions
            first = judged_by(benchmark, predictions)
        if benchmark.name != name:
            raise DataError(f"{folder} is of {benchmark.name}, {folders[0]} of {name}; give one")
        comparable_judges(first, judged_by(benchmark, predictions), str(folders[0]), str(folder))
        apart = {key for key, _ in asked.items() ^ questions.items()}
        if apart:
            raise DataError(
                f"{len(apart)} questions differ between {folders[0]} and {folder}, such as "
                f"{min(apart)!r}; evaluate all seeds with the same limit and the same files"
            )
        totals = benchmark.count(predictions).table.sum(axis=0)
        maximum = benchmark.maximum(totals)
        if maximum == 0:
            raise DataError(f"{folder}: none of the questions counts for the score of {name}")
        percents.append(float(100.0 * benchmark.headline(totals) / maximum))
    return name, title, tuple(percents)
