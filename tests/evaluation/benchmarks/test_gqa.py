"""GQA: exact equality, balanced questions, binary and open."""

import json
from pathlib import Path

import pytest

from components.core.errors import DataError
from components.data.response_formats import SHORT_ANSWER
from components.evaluation.benchmark import Question
from components.evaluation.benchmarks.gqa import BENCHMARK
from components.evaluation.scoring.score import predict, summarise


@pytest.mark.parametrize(
    ("raw", "target", "expected"),
    [
        ("Yes", "yes", 1.0),
        ("Yes.", "yes", 1.0),
        ("yes...", "yes", 1.0),
        ("yes ", "yes", 0.0),  # white space is not stripped
        ("yes!", "yes", 0.0),
        ("a dog", "dog", 0.0),
        ("2", "two", 0.0),
        ("T-shirt", "t-shirt", 1.0),
        ("", "no", 0.0),
    ],
)
def test_scores(raw: str, target: str, expected: float) -> None:
    question = Question("1", "gqa", "?", target)
    assert BENCHMARK.score(BENCHMARK.parse(raw, question), question) == expected


def test_reading_and_sub_scores(gqa_root: Path) -> None:
    folder = gqa_root / "eval" / "gqa"
    questions = BENCHMARK.read(folder)
    assert len(questions) == 12
    assert questions[0].prompt == f"Which number is it, asked 0?\n{SHORT_ANSWER}"
    right = {q.id: q.target for q in questions if q.meta["structural"] == "query"}
    scores = summarise(BENCHMARK, predict(BENCHMARK, questions, {**dict.fromkeys("x"), **right}))
    assert scores.headline_percent == 50.0
    assert scores.details["open"] == 100.0
    assert scores.details["binary"] == 0.0
    assert scores.details["structural/verify"] == 0.0
    assert scores.details["semantic/obj"] == 50.0
    assert scores.num_missing == 6


def test_unbalanced_questions_are_not_asked_and_prompts_come_from_the_original(
    gqa_root: Path,
) -> None:
    folder = gqa_root / "eval" / "gqa"
    path = folder / "testdev_balanced_questions.json"
    entries = json.loads(path.read_text())
    entries["1003"]["isBalanced"] = False
    path.write_text(json.dumps(entries))
    row = {"question_id": "1005", "image": "n2.jpg", "text": "Another wording"}
    (folder / "llava_gqa_testdev_balanced.jsonl").write_text(json.dumps(row) + "\n")
    questions = {q.id: q for q in BENCHMARK.read(folder)}
    assert "1003" not in questions
    assert questions["1005"].prompt == "Another wording"


def test_a_damaged_file_is_named_with_its_place(gqa_root: Path) -> None:
    path = gqa_root / "eval" / "gqa" / "testdev_balanced_questions.json"
    path.write_text('{"1": {"imageId": "n1"},\n "2": }')
    with pytest.raises(DataError, match=r"testdev_balanced_questions.json:2: not JSON"):
        BENCHMARK.read(path.parent)
    path.write_text('{"1": {"imageId": "n1"}}')
    with pytest.raises(DataError, match=r"\[1\]: no 'question'; this row has imageId"):
        BENCHMARK.read(path.parent)
    path.unlink()
    with pytest.raises(DataError, match="file missing"):
        BENCHMARK.read(path.parent)
