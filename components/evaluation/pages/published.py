"""Our scores beside published ones: the radar chart and the table of a report.

In: results. Out: HTML. A score that is not comparable (`Result.comparable`) has no published
figures here and is left out of both.
"""

from collections.abc import Sequence
from html import escape

from components.evaluation.pages.radar import LEAST_AXES, Axis, Series, legend, radar, rim_above
from components.evaluation.pages.results import Result
from components.evaluation.score_table import REFERENCE

RADAR_MODELS = (REFERENCE, "Qwen-VL-Chat", "InstructBLIP")
"""Beginnings of the names of published models in the radar chart, where a benchmark has them."""


def beside_published(
    results: Sequence[Result], model_name: str, reference: str, radar_models: Sequence[str]
) -> str:
    """Return our scores beside published ones, as a radar chart and a table; an empty text where no
    score has a published one to stand beside.
    """
    rows = [result for result in results if result.published_percents()]
    if not rows:
        return ""
    chart = _radar(rows, model_name, radar_models)
    panels = ""
    if chart:
        title = "All benchmarks at a glance"
        panels = f'<section class="panel"><h2>{title}</h2>{chart}</section>'
    panels += _published(
        rows, [each for each in results if each not in rows], model_name, reference
    )
    return f'<div class="two{"" if chart else " alone"}">{panels}</div>'


def _published(
    rows: Sequence[Result], others: Sequence[Result], model_name: str, reference: str
) -> str:
    names = list(dict.fromkeys(name for row in rows for name in row.published_percents()))
    names.sort(key=lambda name: (name != reference, not name.startswith("LLaVA-1.5"), name))
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    body = []
    for row in rows:
        percents = row.published_percents()
        scores = row.scores
        cells = "".join(
            f"<td>{percents[name]:.1f}</td>" if name in percents else "<td>-</td>" for name in names
        )
        body.append(
            f'<tr><th scope="row">{escape(row.title)}{tags(row)}</th>'
            f'<td class="own">{scores.headline_percent:.1f}<br>'
            f"<small>{scores.ci_low:.1f} to {scores.ci_high:.1f}</small></td>{cells}</tr>"
        )
    scaled = [row for row in rows if row.full_maximum != 100.0]
    lines = [
        f"{escape(row.title)} is out of {row.full_maximum:,.0f} points: published "
        + ", ".join(f"{escape(name)} {row.scores.published[name]:,.1f}" for name in names
                    if name in row.scores.published)
        + "."
        for row in scaled
    ]  # fmt: skip
    if any(row.is_part for row in rows):
        lines.append(
            '<span class="tag">part</span> only a part of the benchmark was asked; the published '
            "score is of the whole."
        )
    if others:
        left = ", ".join(escape(row.title) for row in others)
        lines.append(f"Without published figures to stand beside: {left}.")
    said = "".join(f"<p>{line}</p>" for line in lines)
    return f"""<section class="panel"><h2>Beside published scores</h2>
<div class="scroll" tabindex="0"><table><thead><tr><td></td>
<th scope="col" class="own">{escape(model_name)}</th>{head}</tr></thead>
<tbody>{"".join(body)}</tbody></table></div>
{said}</section>"""


def _radar(rows: Sequence[Result], model_name: str, radar_models: Sequence[str]) -> str:
    if len(rows) < LEAST_AXES:
        return ""
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
    return (
        f"{radar(axes, series)}{legend(series)}"
        "<p>Each axis runs from 0 in the middle to the figure after &quot;of&quot;; the band is "
        "our 95% interval; a line has a gap where nothing was published.</p>"
    )


def _best_known(rows: Sequence[Result], wanted: str) -> str | None:
    """Return the published model whose name begins so and that has most benchmarks."""
    counts: dict[str, int] = {}
    for row in rows:
        for name in row.published_percents():
            if name.lower().startswith(wanted.lower()):
                counts[name] = counts.get(name, 0) + 1
    return max(counts, key=lambda name: (name == wanted, counts[name])) if counts else None


def tags(result: Result) -> str:
    """Return what spoils a comparison, as marks behind a title."""
    found = [] if result.comparable else ["not comparable"]
    found += ["part"] if result.is_part else []
    found += ["incomplete"] if result.scores.num_missing else []
    return "".join(f' <span class="tag">{tag}</span>' for tag in found)
