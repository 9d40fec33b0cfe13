"""A comparison of two models as one HTML page: no script, no other file, nothing fetched.

In: `ModelComparison`, and the raw folder for the pictures. Out: the page. Everything from data and
models is escaped. It computes nothing.
"""

import hashlib
from collections.abc import Sequence
from html import escape
from pathlib import Path

from components.evaluation.pages.answer_cards import Pictures, cut, output, verdict
from components.evaluation.pages.style import html_page
from components.evaluation.scoring.comparison import (
    BenchmarkComparison,
    ChangedQuestion,
    ModelComparison,
    correction_note,
    p_text,
)

QUESTIONS_PER_BENCHMARK = 8


def write_comparison(
    comparison: ModelComparison,
    output_path: str | Path,
    raw_root: str | Path | None = None,
    num_questions: int = QUESTIONS_PER_BENCHMARK,
    seed: int = 0,
) -> Path:
    """Write the page and return its path.

    Of each benchmark's changed questions `num_questions` are drawn by `seed`, lost and gained ones;
    the record of the comparison holds all.
    """
    path = Path(output_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(comparison_page(comparison, raw_root, num_questions, seed), encoding="utf-8")
    return path


def comparison_page(
    comparison: ModelComparison,
    raw_root: str | Path | None = None,
    num_questions: int = QUESTIONS_PER_BENCHMARK,
    seed: int = 0,
) -> str:
    """Return the page as HTML text."""
    title = f"{comparison.b_name} against {comparison.a_name}"
    asked = sum(row.num_questions for row in comparison.rows)
    several = "" if len(comparison.rows) == 1 else "s"
    body = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="facts"><b>{len(comparison.rows)}</b> benchmark{several} &middot; '
        f"<b>{asked:,}</b> questions asked of both &middot; A is {escape(comparison.a_name)}, "
        f"B is {escape(comparison.b_name)}</p>",
        _overview(comparison),
        *(
            _section(row, Pictures(row.benchmark, raw_root), num_questions, seed)
            for row in comparison.rows
            if row.gained or row.lost
        ),
    ]
    return html_page(title, "\n".join(body))


def _overview(comparison: ModelComparison) -> str:
    reach = max(
        5.0, *(max(abs(row.ci_low), abs(row.ci_high)) for row in comparison.rows)
    )  # what half a strip stands for
    names = ["A", "B", "B - A", "95% interval", "p", "gained", "lost", "B is"]
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    rows = "".join(_row(row, reach, names) for row in comparison.rows)
    left = [
        f"{', '.join(map(escape, only))} asked of {escape(name)} alone: left out."
        for name, only in (
            (comparison.a_name, comparison.only_a),
            (comparison.b_name, comparison.only_b),
        )
        if only
    ]
    said = "".join(
        f"<p>{line}</p>"
        for line in (
            f"{escape(correction_note(comparison))}.",
            f"The strips run from -{reach:.0f} to +{reach:.0f} with no difference in the middle. "
            "Gained and lost count the questions that B scores higher and lower than A.",
            *left,
        )
    )
    return f"""<section class="panel"><h2>Differences</h2>
<table class="wide"><thead><tr><td></td><td></td>{head}</tr></thead><tbody>{rows}</tbody></table>
{said}</section>"""


def _row(row: BenchmarkComparison, reach: float, names: Sequence[str]) -> str:
    kind = row.verdict if row.verdict in ("better", "worse") else ""
    values = [
        f"{row.a_percent:.1f}",
        f"{row.b_percent:.1f}",
        f"<b>{row.difference_percent:+.1f}</b>",
        f"{row.ci_low:+.1f} to {row.ci_high:+.1f}",
        escape(p_text(row.p_corrected)),
        f"{len(row.gained):,}",
        f"{len(row.lost):,}",
        f'<span class="{kind}">{row.verdict}</span>',
    ]
    cells = "".join(
        f'<td data-name="{name}">{value}</td>' for name, value in zip(names, values, strict=True)
    )
    low, dot, high = (
        50 + 50 * each / reach for each in (row.ci_low, row.difference_percent, row.ci_high)
    )
    strip = (
        f'<span class="strip"><i class="reach" style="left:{low:.1f}%;width:{high - low:.1f}%"></i>'
        f'<i class="middle" style="left:50%"></i><i class="dot" style="left:{dot:.1f}%"></i></span>'
    )
    return (
        f'<tr><th scope="row">{escape(row.title)}<small>{escape(row.headline_name)}</small></th>'
        f'<td class="stripcell">{strip}</td>{cells}</tr>'
    )


def _section(row: BenchmarkComparison, pictures: Pictures, number: int, seed: int) -> str:
    lost = _drawn(row.lost, max(number // 2, number - len(row.gained)), seed)
    gained = _drawn(row.gained, number - len(lost), seed)
    cards = "\n".join(_card(each, pictures) for each in [*lost, *gained])
    return f"""<section class="benchmark"><h3>{escape(row.title)}</h3>
<p class="lead">{len(row.lost):,} lost, {len(row.gained):,} gained; {len(lost)} and {len(gained)} of
them drawn at random</p>
<div class="gallery">
{cards}
</div></section>"""


def _drawn(questions: Sequence[ChangedQuestion], number: int, seed: int) -> list[ChangedQuestion]:
    def place(each: ChangedQuestion) -> str:
        return hashlib.sha256(f"{seed}/{each.question_id}".encode()).hexdigest()

    return sorted(questions, key=place)[:number]


def _card(changed: ChangedQuestion, pictures: Pictures) -> str:
    kind, word = ("right", "gained") if changed.b_score > changed.a_score else ("wrong", "lost")
    lines = "".join(
        f'<dt>{name}</dt><dd>{output(raw)} <span class="soft">{verdict(raw, score)[1]}</span></dd>'
        for name, raw, score in (
            ("A", changed.a_raw, changed.a_score),
            ("B", changed.b_raw, changed.b_score),
        )
    )
    return (
        f'<article class="card {kind}">{pictures.html(changed.question_id)}'
        f'<div class="about"><b class="verdict">{word}</b> '
        f"<span>{escape(cut(changed.question_id, 120))}</span></div>"
        f'<div class="prompt">{escape(cut(changed.prompt))}</div><dl>{lines}<dt>target</dt>'
        f'<dd><span class="said">{escape(cut(changed.target))}</span></dd></dl></article>'
    )
