"""Our scores beside published ones: the radar chart and the table of a report.

In: results. Out: the facts of `published.html`. A score that is not comparable
(`Result.comparable`) has no published figures here and is left out of both.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from components.evaluation.pages.radar import LEAST_AXES, Axis, Chart, Series, radar, rim_above
from components.evaluation.pages.results import Result
from components.evaluation.score_table import REFERENCE

RADAR_MODELS = (REFERENCE, "Qwen-VL-Chat", "InstructBLIP")
"""Beginnings of the names of published models in the radar chart, where a benchmark has them."""


@dataclass(frozen=True)
class Published:
    rows: list[Result]
    others: list[Result]
    """Results without published figures."""
    names: list[str]
    """Published models, the reference first."""
    chart: Chart | None


def beside_published(
    results: Sequence[Result], model_name: str, reference: str, radar_models: Sequence[str]
) -> Published | None:
    """Return our scores beside published ones; None where no score has one to stand beside."""
    rows = [result for result in results if result.published_percents()]
    if not rows:
        return None
    others = [result for result in results if not result.published_percents()]
    names = {name for row in rows for name in row.published_percents()}
    return Published(
        rows,
        others,
        sorted(names, key=lambda name: (name != reference, not name.startswith("LLaVA-1.5"), name)),
        _chart(rows, model_name, radar_models) if len(rows) >= LEAST_AXES else None,
    )


def _chart(rows: Sequence[Result], model_name: str, radar_models: Sequence[str]) -> Chart:
    series = [
        Series(
            model_name,
            tuple(row.scores.headline_percent for row in rows),
            tuple(row.scores.ci_low for row in rows),
            tuple(row.scores.ci_high for row in rows),
        )
    ]
    for wanted in radar_models:
        name = _best_known(rows, wanted)
        if name is not None:
            series.append(Series(name, tuple(row.published_percents().get(name) for row in rows)))
    axes = []
    for place, row in enumerate(rows):
        shown = [each.values[place] for each in series]
        axes.append(
            Axis(row.title, rim_above([row.scores.ci_high, *(v for v in shown if v is not None)]))
        )
    return radar(axes, series)


def _best_known(rows: Sequence[Result], wanted: str) -> str | None:
    """Return the published model whose name begins so and that has most benchmarks."""
    counts: dict[str, int] = {}
    for row in rows:
        for name in row.published_percents():
            if name.lower().startswith(wanted.lower()):
                counts[name] = counts.get(name, 0) + 1
    return max(counts, key=lambda name: (name == wanted, counts[name])) if counts else None
