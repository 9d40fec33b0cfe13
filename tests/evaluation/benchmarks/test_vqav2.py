"""VQAv2: what the tool normalises and when, and its leave-one-out."""

import json
from pathlib import Path
from typing import Any

import pytest

from components.core.errors import DataError
from components.data.response_formats import SHORT_ANSWER
from components.evaluation.benchmark import Question
from components.evaluation.benchmarks.vqav2 import BENCHMARK


def score(raw: str, humans: list[str]) -> float:
    question = Question("1", "vqav2", "?", humans)
    return BENCHMARK.score(BENCHMARK.parse(raw, question), question)


@pytest.mark.parametrize(
    ("raw", "humans", "expected"),
    [
        ("Yes.", ["yes"] * 10, 1.0),
        ("two", ["2"] * 10, 1.0),
        ("A dog", ["dog"] * 10, 1.0),
        # All ten agree: the humans are taken as they wrote, but the answer was normalised before.
        ("the left side", ["the left side"] * 10, 0.0),
        ("the left side", ["the left side"] * 9 + ["left"], 1.0),
        ("yes", ["Yes"] * 10, 0.0),
        ("yes", ["Yes"] * 9 + ["no"], 1.0),
        ("none", ["none"] * 10, 0.0),  # became 0
        ("0", ["none"] * 9 + ["0"], 1.0),
        ("cat", ["cat"] + ["dog"] * 9, 0.3),
        ("cat", ["cat"] * 2 + ["dog"] * 8, 0.6),
        ("cat", ["cat"] * 3 + ["dog"] * 7, 0.9),
        ("", ["dog"] * 10, 0.0),
    ],
)
def test_scores(raw: str, humans: list[str], expected: float) -> None:
    assert score(raw, humans) == pytest.approx(expected)


def write(root: Path, prompts: bool) -> Path:
    asked: list[dict[str, Any]] = [
        {"image_id": 42 + n // 2, "question": f"Q{n}?", "question_id": 42000 + n} for n in range(4)
    ]
    answered = [
        {
            "question_id": q["question_id"],
            "image_id": q["image_id"],
            "answer_type": "yes/no" if n % 2 else "other",
            "answers": [
                {"answer": "yes", "answer_confidence": "yes", "answer_id": k} for k in range(1, 11)
            ],
        }
        for n, q in enumerate(asked)
    ]
    root.mkdir(parents=True)
    dump(root / "v2_OpenEnded_mscoco_val2014_questions.json", {"questions": asked})
    dump(root / "v2_mscoco_val2014_annotations.json", {"annotations": answered[::-1]})
    if prompts:
        rows = [
            {
                "question_id": q["question_id"],
                "image": f"COCO_val2014_{q['image_id']:012d}.jpg",
                "text": f"{q['question']}\n{SHORT_ANSWER}",
                "category": "default",
            }
            for q in asked[::-1]
        ]
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (root / "llava_vqav2_val.jsonl").write_text(lines)
    return root


def dump(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value))


def test_questions_are_the_same_with_and_without_the_originals_file(tmp_path: Path) -> None:
    with_file = BENCHMARK.read(write(tmp_path / "a", prompts=True))
    without = BENCHMARK.read(write(tmp_path / "b", prompts=False))
    assert [(q.id, q.prompt, q.group) for q in with_file] == [
        (q.id, q.prompt, q.group) for q in without
    ]
    assert without[0].prompt == f"Q0?\n{SHORT_ANSWER}"
    assert str(without[0].image_path).endswith("val2014/COCO_val2014_000000000042.jpg")
    assert [q.meta["answer_type"] for q in without[:2]] == ["other", "yes/no"]


def test_files_of_two_splits_are_refused(tmp_path: Path) -> None:
    root = write(tmp_path / "vqav2", prompts=False)
    dump(root / "v2_mscoco_val2014_annotations.json", {"annotations": []})
    with pytest.raises(DataError, match="does not annotate question 42000"):
        BENCHMARK.read(root)
    dump(root / "v2_mscoco_val2014_annotations.json", [])
    with pytest.raises(DataError, match="a list 'annotations'"):
        BENCHMARK.read(root)
