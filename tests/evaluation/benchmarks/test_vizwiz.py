"""VizWiz: only the prediction is normalised; unanswerable questions; both formulas."""

import json
from pathlib import Path
from typing import Any

import pytest

from components.core.errors import DataError
from components.data.response_formats import MAY_BE_UNANSWERABLE, SHORT_ANSWER
from components.evaluation.benchmark import Question
from components.evaluation.benchmarks.vizwiz import BENCHMARK
from components.evaluation.scoring.score import predict, summarise


@pytest.mark.parametrize(
    ("raw", "humans", "expected"),
    [
        ("Unanswerable", ["unanswerable"] * 7 + ["unsuitable"] * 3, 1.0),
        ("unanswerable.", ["unanswerable"] * 10, 1.0),
        ("I cannot tell", ["unanswerable"] * 10, 0.0),
        ("two", ["2"] * 10, 1.0),
        ("two", ["two"] * 10, 0.0),  # the prediction became 2, the humans are as they wrote
        ("the dog", ["dog"] * 10, 1.0),
        ("the dog", ["the dog"] * 10, 0.0),
        ("Coke", ["Coke"] * 10, 0.0),  # capital letters of humans stay
        ("none", ["0"] * 10, 1.0),
        ("didnt", ["didn't"] * 10, 1.0),  # the converter restores it before the API can damage it
        ("cat", ["cat"] + ["dog"] * 9, 0.3),
        ("cat", ["cat"] * 3 + ["dog"] * 7, 0.9),
        ("cat", ["cat"] * 4 + ["dog"] * 6, 1.0),
        ("", ["dog"] * 10, 0.0),
        ("", [""] * 10, 1.0),
    ],
)
def test_scores(raw: str, humans: list[str], expected: float) -> None:
    question = Question("1", "vizwiz", "?", humans)
    assert BENCHMARK.score(BENCHMARK.parse(raw, question), question) == pytest.approx(expected)


def row(number: int, answers: list[str], answerable: int) -> dict[str, Any]:
    return {
        "image": f"VizWiz_val_{number:08d}.jpg",
        "question": f"What is this, {number}?",
        "answers": [{"answer": answer, "answer_confidence": "yes"} for answer in answers],
        "answer_type": "other" if answerable else "unanswerable",
        "answerable": answerable,
    }


ROWS = [
    row(0, ["dog"] * 10, 1),
    row(1, ["The dog"] * 10, 1),
    row(2, ["unanswerable"] * 10, 0),
    row(3, ["unanswerable"] * 10, 0),
]


def write(root: Path, rows: Any) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / "val.json").write_text(json.dumps(rows))
    return root


def test_prompts_carry_the_unanswerable_line(tmp_path: Path) -> None:
    questions = BENCHMARK.read(write(tmp_path, ROWS))
    assert questions[0].prompt == f"What is this, 0?\n{MAY_BE_UNANSWERABLE}\n{SHORT_ANSWER}"
    assert MAY_BE_UNANSWERABLE.endswith("respond with 'Unanswerable'.")
    assert str(questions[0].image_path).endswith("val/VizWiz_val_00000000.jpg")
    assert len({question.cluster for question in questions}) == 4


def test_sub_scores_and_the_other_formula(tmp_path: Path) -> None:
    questions = BENCHMARK.read(write(tmp_path, ROWS))
    raws = dict(zip([q.id for q in questions], ["dog", "dog", "Unanswerable", "dog"], strict=True))
    scores = summarise(BENCHMARK, predict(BENCHMARK, questions, raws))
    assert scores.headline_percent == 50.0
    assert scores.details["both_sides_normalised"] == 75.0  # "The dog" is dog on both sides
    assert scores.details["answerable"] == scores.details["answer_type/other"] == 50.0
    assert scores.details["unanswerable"] == scores.details["answer_type/unanswerable"] == 50.0
    # One said, and rightly, of two: precision 1, recall 1/2, F1 2/3; AP = 1 x 1/2 + 2/4 x 1/2.
    assert scores.details["unanswerability/f1"] == pytest.approx(100 * 2 / 3)
    assert scores.details["unanswerability/average_precision"] == pytest.approx(75.0)


def test_a_missing_answer_is_wrong_and_does_not_say_unanswerable(tmp_path: Path) -> None:
    questions = BENCHMARK.read(write(tmp_path, ROWS))
    raws = {questions[0].id: "dog"}
    scores = summarise(BENCHMARK, predict(BENCHMARK, questions, raws))
    assert (scores.headline_percent, scores.num_missing) == (25.0, 3)
    assert scores.details["unanswerability/f1"] == 0.0
    assert "incomplete: 3 of 4 answers are missing and count as wrong" in scores.note


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ({"questions": []}, "expected a list of questions, found dict"),
        ([["dog"]], r"val.json\[0\]: expected an object"),
        ([{"image": "a.jpg", "question": "?"}], r"val.json\[0\]: no 'answers'"),
        ([{"image": "a.jpg", "question": "?", "answers": []}], "this needs val.json"),
        ([{"image": "a.jpg", "question": "?", "answers": [{}]}], "no 'answer'"),
    ],
)
def test_damage_is_named(tmp_path: Path, rows: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        BENCHMARK.read(write(tmp_path, rows))


def test_rows_without_types_are_scored_all_the_same(tmp_path: Path) -> None:
    bare = [{k: v for k, v in one.items() if k in ("image", "question", "answers")} for one in ROWS]
    questions = BENCHMARK.read(write(tmp_path, bare))
    scores = summarise(BENCHMARK, predict(BENCHMARK, questions, {q.id: "dog" for q in questions}))
    assert scores.headline_percent == 25.0
    assert set(scores.details) == {"both_sides_normalised"}
