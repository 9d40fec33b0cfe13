"""The report of an evaluation as one HTML page: no script, no other file, nothing fetched.

In: folders that `evaluate` wrote, and the raw folder for the pictures. Out: the page. Scores stand
in percent of the largest score possible, with intervals and controls; beside published ones only
where they are comparable. Everything from data and models is escaped. It computes no score.
"""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from components.core.errors import DataError
from components.evaluation.pages.answer_cards import Pictures, card, draw
from components.evaluation.pages.published import RADAR_MODELS, beside_published, tags
from components.evaluation.pages.results import Control, Result, read_result
from components.evaluation.pages.style import html_page
from components.evaluation.pages.subscores import subscores
from components.evaluation.score_table import REFERENCE, is_comparable, notes

ANSWERS_PER_BENCHMARK = 8


def write_report(
    folders: Sequence[str | Path],
    output_path: str | Path,
    model_name: str,
    raw_root: str | Path | None = None,
    reference: str = REFERENCE,
    radar_models: Sequence[str] = RADAR_MODELS,
    num_answers: int = ANSWERS_PER_BENCHMARK,
    seed: int = 0,
) -> Path:
    """Write the page and return its path.

    `raw_root` is the raw folder whose `eval/` holds the pictures; without it answers are shown
    without them. `num_answers` are drawn per benchmark by `seed`. Raises DataError for no folder,
    or one that holds no results.
    """
    if not folders:
        raise DataError("no result folder given; name the folders that an evaluation wrote")
    results = [read_result(folder) for folder in folders]
    path = Path(output_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    page = report_page(results, model_name, raw_root, reference, radar_models, num_answers, seed)
    path.write_text(page, encoding="utf-8")
    return path


def report_page(
    results: Sequence[Result],
    model_name: str,
    raw_root: str | Path | None = None,
    reference: str = REFERENCE,
    radar_models: Sequence[str] = RADAR_MODELS,
    num_answers: int = ANSWERS_PER_BENCHMARK,
    seed: int = 0,
) -> str:
    """Return the page as HTML text."""
    sections = [
        _section(place, result, Pictures(result.scores.benchmark, raw_root), num_answers, seed)
        for place, result in enumerate(results)
    ]
    body = [
        _head(results, model_name),
        _scores(results, reference),
        beside_published(results, model_name, reference, radar_models),
        _notes(results),
        *sections,
    ]
    return html_page(f"Evaluation of {model_name}", "\n".join(part for part in body if part))


def _head(results: Sequence[Result], model_name: str) -> str:
    count = sum(result.scores.num_questions for result in results)
    missing = sum(result.scores.num_missing for result in results)
    several = "" if len(results) == 1 else "s"
    facts = [
        f"<b>{len(results)}</b> benchmark{several}",
        f"<b>{count:,}</b> questions",
        *([f"<b>{missing:,}</b> without an answer"] if missing else []),
        "percent of the largest score possible, intervals of 95%",
    ]
    chips = "".join(
        f'<a href="#benchmark{place}">{escape(result.title)} '
        f"<b>{result.scores.headline_percent:.1f}</b></a>"
        for place, result in enumerate(results)
    )
    return (
        f'<h1>{escape(model_name)}</h1>\n<p class="facts">{" &middot; ".join(facts)}</p>\n'
        f'<nav class="chips">{chips}</nav>'
    )


def _scores(results: Sequence[Result], reference: str) -> str:
    text_only = any(result.text_only for result in results)
    head = ["score", "95% interval", "blind", "above blind"]
    head += ["text only", "above text"] if text_only else []
    titles = "".join(f'<th scope="col">{name}</th>' for name in [*head, "asked"])
    rows = "".join(_score_row(result, text_only, reference) for result in results)
    keys = [("dot", "left:50%", "score"), ("reach", "left:2px;width:22px", "95% interval")]
    if any(result.blind for result in results):
        keys.append(("blind", "left:50%", "blind: another picture"))
    if text_only:
        keys.append(("text", "left:50%", "text only: no picture"))
    if any(reference in result.published_percents() for result in results):
        keys.append(("tick", "left:50%", f"{escape(reference)}, published"))
    listed = "".join(
        f'<li><span class="strip"><i class="{kind}" style="{place}"></i></span>{name}</li>'
        for kind, place, name in keys
    )
    return f"""<section class="panel"><h2>Scores and controls</h2>
<table class="wide"><thead><tr><td></td><td></td>{titles}</tr></thead><tbody>{rows}</tbody></table>
<ul class="legend">{listed}</ul>
<p>The controls ask the same questions with another question's picture or with none: what is scored
above them comes from looking.</p></section>"""


def _score_row(result: Result, text_only: bool, reference: str) -> str:
    scores = result.scores
    own = f"{scores.headline_percent:.1f}"
    if scores.score_maximum != 100.0:
        own += f"<br><small>{scores.score:,.1f} of {scores.score_maximum:,.0f}</small>"
    missing = f" <small>-{scores.num_missing:,}</small>" if scores.num_missing else ""
    cells = [
        ("score", "own", own),
        ("95% interval", "", f"{scores.ci_low:.1f} to {scores.ci_high:.1f}"),
        *_control_cells("blind", result.blind),
        *(_control_cells("text only", result.text_only) if text_only else ()),
        ("asked", "", f"{scores.num_questions:,}{missing}"),
    ]
    shown = "".join(
        f'<td class="{kind}" data-name="{name}">{text}</td>' for name, kind, text in cells
    )
    return (
        f'<tr><th scope="row">{escape(result.title)}{tags(result)}'
        f"<small>{escape(scores.headline_name)}</small></th>"
        f'<td class="stripcell">{_strip(result, reference)}</td>{shown}</tr>'
    )


def _control_cells(name: str, control: Control | None) -> tuple[tuple[str, str, str], ...]:
    above = "above text" if name == "text only" else f"above {name}"
    if control is None:
        return ((name, "", "-"), (above, "", "-"))
    apart = "-" if control.difference is None else f"{control.difference:+.1f}"
    if control.difference_low is not None and control.difference_high is not None:
        half = (control.difference_high - control.difference_low) / 2
        apart += f" <small>&plusmn;{half:.1f}</small>"
    return ((name, "", f"{control.percent:.1f}"), (above, "", apart))


def _strip(result: Result, reference: str) -> str:
    scores = result.scores
    low, high = _clipped(scores.ci_low), _clipped(scores.ci_high)
    marks = [f'<i class="reach" style="left:{low:.1f}%;width:{high - low:.1f}%"></i>']
    published = result.published_percents().get(reference)
    if published is not None:
        marks.append(f'<i class="tick" style="left:{_clipped(published):.1f}%"></i>')
    for kind, control in (("text", result.text_only), ("blind", result.blind)):
        if control is not None:
            marks.append(f'<i class="{kind}" style="left:{_clipped(control.percent):.1f}%"></i>')
    marks.append(f'<i class="dot" style="left:{_clipped(scores.headline_percent):.1f}%"></i>')
    return f'<span class="strip">{"".join(marks)}</span>'


def _clipped(percent: float) -> float:
    return min(max(percent, 0.0), 100.0)


def _notes(results: Sequence[Result]) -> str:
    lines = notes([result.scores for result in results])
    lines += [
        f"{result.title}: not comparable with published scores"
        for result in results
        if not result.comparable and is_comparable(result.scores)  # else the notes have it
    ]
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<section class="panel"><h2>Notes</h2><ul class="notes">{items}</ul></section>'


def _section(place: int, result: Result, pictures: Pictures, number: int, seed: int) -> str:
    scores = result.scores
    drawn = draw(result.answers, number, seed)
    right = sum(answer.score >= 1.0 for answer in result.answers)
    wrong = sum(answer.score <= 0.0 for answer in result.answers)
    partly = len(result.answers) - right - wrong
    told = f"{right:,} right, {wrong:,} wrong" + (f", {partly:,} partly right" if partly else "")
    tables = subscores(scores.details)
    subs = f'<div class="panel subs"><h2>Sub-scores</h2>{tables}</div>' if tables else ""
    cards = "\n".join(card(answer, pictures) for answer in drawn)
    return f"""<section class="benchmark" id="benchmark{place}">
<h3>{escape(result.title)} {scores.headline_percent:.1f}{tags(result)}</h3>
<p class="lead">{escape(scores.headline_name)}; {told}; {len(drawn)} answers drawn at random, wrong
ones first</p>
{subs}
<div class="gallery">
{cards}
</div></section>"""
