"""A comparison of two models as one HTML page: no script, no other file, nothing fetched.

In: `ModelComparison`, and the raw folder for the images. Out: the page (`comparison.html`). It
computes nothing.
"""

from pathlib import Path

from components.core.pages.page import render
from components.evaluation.pages.answer_cards import (
    Card,
    QuestionImages,
    changed_card,
    shuffled,
)
from components.evaluation.scoring.comparison import (
    BenchmarkComparison,
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
    rows = comparison.rows
    page = render(
        "evaluation/pages/comparison.html",
        title=f"{comparison.b_name} against {comparison.a_name}",
        comparison=comparison,
        num_asked=sum(row.num_questions for row in rows),
        # What half a strip stands for.
        reach=max(5.0, *(max(abs(row.ci_low), abs(row.ci_high)) for row in rows)),
        note=correction_note(comparison),
        p_text=p_text,
        cards={
            row.benchmark: _cards(row, raw_root, num_questions, seed)
            for row in rows
            if row.lost or row.gained
        },
    )
    path = Path(output_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    return path


def _cards(
    row: BenchmarkComparison, raw_root: str | Path | None, number: int, seed: int
) -> tuple[list[Card], list[Card]]:
    """Return cards of lost and of gained questions."""
    images = QuestionImages(row.benchmark, raw_root)
    lost = shuffled(row.lost, seed)[: max(number // 2, number - len(row.gained))]
    gained = shuffled(row.gained, seed)[: number - len(lost)]
    return [changed_card(each, images) for each in lost], [
        changed_card(each, images) for each in gained
    ]
