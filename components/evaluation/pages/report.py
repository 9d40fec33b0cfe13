"""The report of an evaluation as one HTML page: no script, no other file, nothing fetched.

In: folders that `evaluate` wrote, and the raw folder for the images. Out: the page
(`report.html`). Scores stand in percent of the largest score possible, with intervals and controls;
beside published ones only where they are comparable. It computes no score.
"""

from collections.abc import Sequence
from pathlib import Path

from components.core.errors import DataError
from components.core.pages.page import render
from components.evaluation.pages.answer_cards import Card, QuestionImages, answer_card, draw
from components.evaluation.pages.published import RADAR_MODELS, beside_published
from components.evaluation.pages.results import Result, read_result
from components.evaluation.pages.subscores import subscores
from components.evaluation.score_table import REFERENCE, notes

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

    `raw_root` is the raw folder whose `eval/` holds the images; without it answers are shown
    without them. `num_answers` are drawn per benchmark by `seed`. Raises DataError for no folder,
    or one that holds no results.
    """
    if not folders:
        raise DataError("no result folder given; name the folders that an evaluation wrote")
    results = [read_result(folder) for folder in folders]
    page = render(
        "evaluation/pages/report.html",
        title=f"Evaluation of {model_name}",
        model_name=model_name,
        reference=reference,
        results=[(result, _marks(result, reference)) for result in results],
        num_questions=sum(result.scores.num_questions for result in results),
        num_missing=sum(result.scores.num_missing for result in results),
        published=beside_published(results, model_name, reference, radar_models),
        notes=notes([result.scores for result in results]),
        sections=[
            (result, subscores(result.scores.details), _cards(result, raw_root, num_answers, seed))
            for result in results
        ],
    )
    path = Path(output_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    return path


def _marks(result: Result, reference: str) -> list[tuple[str, float, float | None]]:
    """Return what stands on a result's strip: kind, left end and width in percent of the strip."""
    scores, text_only, blind = result.scores, result.text_only, result.blind
    low, high = _clipped(scores.ci_low), _clipped(scores.ci_high)
    places = {
        "tick": result.published_percents().get(reference),
        "text": text_only.percent if text_only else None,
        "blind": blind.percent if blind else None,
        "dot": scores.headline_percent,
    }
    marks = [(kind, _clipped(each), None) for kind, each in places.items() if each is not None]
    return [("reach", low, high - low), *marks]


def _clipped(percent: float) -> float:
    return min(max(percent, 0.0), 100.0)


def _cards(result: Result, raw_root: str | Path | None, number: int, seed: int) -> list[Card]:
    images = QuestionImages(result.scores.benchmark, raw_root)
    return [answer_card(answer, images) for answer in draw(result.answers, number, seed)]
