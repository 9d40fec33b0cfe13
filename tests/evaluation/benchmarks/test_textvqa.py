"""TextVQA: the join on image and question, both sides normalised."""

import json
from pathlib import Path

import pytest

from components.core.errors import DataError
from components.data.response_formats import SHORT_ANSWER
from components.evaluation.benchmark import Question
from components.evaluation.benchmarks.textvqa import BENCHMARK, question_of

ANSWERS = ["nous les gosses", "Dakota", "dakota", "The Dakota.", "two", "2", "2", "x", "y", "z"]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("dakota", 0.9),  # three of ten once normalised
        ("DAKOTA.", 0.9),
        ("2", 0.9),
        ("Nous les gosses", 0.3),
        ("none of these", 0.0),
        ("", 0.0),
    ],
)
def test_scores(raw: str, expected: float) -> None:
    question = Question("1", "textvqa", "?", ANSWERS)
    assert BENCHMARK.score(BENCHMARK.parse(raw, question), question) == pytest.approx(expected)


@pytest.mark.parametrize(
    "prompt",
    [
        f"What Brand?\nReference OCR token: A, B\n{SHORT_ANSWER}",
        f"Reference OCR token: A, B\nWhat Brand?\n{SHORT_ANSWER}",
        f"What Brand?\n{SHORT_ANSWER}",
    ],
)
def test_the_question_is_found_in_the_prompt(prompt: str) -> None:
    assert question_of(prompt) == "what brand?"


def write(root: Path) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    data = [
        {
            "question_id": 7,
            "image_id": "abc",
            "question": "What Brand?",
            "answers": ["dakota"] * 10,
        },
        {"question_id": 8, "image_id": "abc", "question": "what year?", "answers": ["1999"] * 10},
    ]
    (root / "TextVQA_0.5.1_val.json").write_text(json.dumps({"data": data}))
    rows = [
        {
            "question_id": "abc",  # the original writes the image's id here
            "image": "abc.jpg",
            "text": f"{text}\nReference OCR token: D\n{SHORT_ANSWER}",
        }
        for text in ("what year?", "what brand?")
    ]
    path = root / "llava_textvqa_val_v051_ocr.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


def test_rows_join_on_image_and_question(tmp_path: Path) -> None:
    questions = BENCHMARK.read(write(tmp_path))
    assert [(q.id, q.target[0]) for q in questions] == [("8", "1999"), ("7", "dakota")]
    assert questions[0].prompt == f"what year?\nReference OCR token: D\n{SHORT_ANSWER}"
    assert str(questions[0].image_path).endswith("train_images/abc.jpg")


def test_another_version_of_the_annotations_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "TextVQA_0.5.1_val.json").write_text(json.dumps({"data": []}))
    with pytest.raises(DataError, match=r"ocr.jsonl:1: .*has no question 'what year\?'"):
        BENCHMARK.read(tmp_path)
