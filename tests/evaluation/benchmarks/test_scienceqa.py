"""ScienceQA: where a letter is found, what counts for IMG, the authors' groups."""

import json
from pathlib import Path
from typing import Any

import pytest

from components.core.errors import DataError
from components.data.response_formats import OPTION_LETTER
from components.evaluation.benchmark import Question
from components.evaluation.benchmarks.scienceqa import BENCHMARK, FAILED
from components.evaluation.scoring.comparison import compare_models
from components.evaluation.scoring.score import predict, summarise, write_predictions


@pytest.mark.parametrize(
    ("raw", "answer"),
    [
        ("A", "A"),
        ("E", "E"),
        ("F", FAILED),
        ("a", FAILED),
        ("A.", FAILED),  # a letter and a period alone are too short for the second rule
        ("A. ", "A"),
        ("B. the dog", "B"),
        ("B.the dog", FAILED),
        ("B) the dog", FAILED),
        ("(A)", FAILED),
        (" A", FAILED),
        ("A\n", FAILED),
        ("The answer is C.", "C"),
        ("The answer is C", FAILED),  # the pattern wants one more character ...
        ("The answer is C!", "C"),  # ... of any kind
        ("The answer is C\n", FAILED),  # but a line's end
        ("The answer is CD", "C"),
        ("the answer is C.", FAILED),
        ("I think The answer is B. Yes.", "B"),
        ("The answer is A. The answer is A.", FAILED),  # exactly one match
        ("The answer is Z.", "Z"),
        ("F. none", FAILED),
        ("", FAILED),
    ],
)
def test_letters_are_found_as_the_original_finds_them(raw: str, answer: str) -> None:
    assert BENCHMARK.parse(raw, None) == answer  # type: ignore[arg-type] # reads no question


def test_a_letter_beyond_the_choices_is_wrong() -> None:
    question = Question("1", "scienceqa", "?", "B", meta={"num_choices": 2})
    assert BENCHMARK.score("B", question) == 1.0
    assert BENCHMARK.score("C", question) == 0.0
    assert BENCHMARK.score(FAILED, question) == 0.0


def problem(image: bool, hint: str, subject: str, grade: int, answer: int = 1) -> dict[str, Any]:
    return {
        "question": "Which is it?",
        "choices": ["this", "that", "neither"],
        "answer": answer,
        "hint": hint,
        "image": "image.png" if image else None,
        "subject": subject,
        "grade": f"grade{grade}",
        "split": "test",
    }


PROBLEMS = {
    "4": problem(False, "", "language science", 2),
    "5": problem(True, "Read this.", "natural science", 8),
    "11": problem(True, "", "social science", 6),
    "15": problem(False, "Read that.", "natural science", 7),
    "16": problem(True, "", "natural science", 12, answer=0),
    "17": {**problem(True, "", "natural science", 1), "split": "train"},
}
TEST = ["4", "5", "11", "15", "16"]


def llava_rows() -> list[dict[str, Any]]:
    rows = []
    for key in TEST:
        one = PROBLEMS[key]
        lines = [f"Context: {one['hint']}"] if one["hint"] else []
        text = "\n".join([*lines, "Which is it?", "A. this", "B. that", "C. neither"])
        row: dict[str, Any] = {"id": key}
        if one["image"]:
            row["image"], text = f"{key}/image.png", f"<image>\n{text}"
        row["conversations"] = [{"from": "human", "value": text}, {"from": "gpt", "value": "B"}]
        rows.append(row)
    return rows


def write(root: Path, with_prompts: bool = True) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / "problems.json").write_text(json.dumps(PROBLEMS))
    (root / "pid_splits.json").write_text(json.dumps({"train": ["17"], "test": TEST}))
    if with_prompts:
        (root / "llava_test_CQM-A.json").write_text(json.dumps(llava_rows()[::-1]))
    return root


def test_only_the_test_split_is_asked_with_the_letter_line_at_the_end(tmp_path: Path) -> None:
    questions = BENCHMARK.read(write(tmp_path))
    assert [question.id for question in questions] == TEST
    options = f"Which is it?\nA. this\nB. that\nC. neither\n{OPTION_LETTER}"
    assert questions[0].prompt == options
    assert questions[1].prompt == f"Context: Read this.\n{options}"
    assert questions[0].image_path is None
    assert str(questions[1].image_path).endswith("images/test/5/image.png")
    assert [question.target for question in questions] == ["B", "B", "B", "B", "A"]


def test_the_prompt_is_the_same_without_the_originals_file(tmp_path: Path) -> None:
    with_file = BENCHMARK.read(write(tmp_path / "a"))
    without = BENCHMARK.read(write(tmp_path / "b", with_prompts=False))
    assert [(q.id, q.prompt, q.target, q.meta) for q in with_file] == [
        (q.id, q.prompt, q.target, q.meta) for q in without
    ]


def test_the_headline_is_of_questions_with_an_image(tmp_path: Path) -> None:
    questions = BENCHMARK.read(write(tmp_path))
    scores = summarise(BENCHMARK, predict(BENCHMARK, questions, dict.fromkeys(TEST, "B")))
    assert scores.headline_percent == pytest.approx(100 * 2 / 3)
    assert scores.details["all"] == 80.0
    found = {name: scores.details[name] for name in ("NAT", "SOC", "LAN", "TXT", "IMG", "NO")}
    assert found == {
        "NAT": pytest.approx(100 * 2 / 3),
        "SOC": 100.0,
        "LAN": 100.0,
        "TXT": 100.0,
        "IMG": pytest.approx(100 * 2 / 3),
        "NO": 100.0,
    }
    assert (scores.details["G1-6"], scores.details["G7-12"]) == (
        100.0,
        pytest.approx(100 * 2 / 3),
    )


def test_a_missing_answer_leaves_img_and_is_wrong_elsewhere(tmp_path: Path) -> None:
    questions = BENCHMARK.read(write(tmp_path))
    raws = {"4": "B", "5": "B", "16": "B"}
    scores = summarise(BENCHMARK, predict(BENCHMARK, questions, raws))
    assert scores.headline_percent == 50.0  # one right of the two answered
    assert scores.details["img_missing_wrong"] == pytest.approx(100 / 3)
    assert scores.details["all"] == 40.0
    assert "incomplete: 2 of 5 answers are missing and are left out of the score" in scores.note


def test_without_an_answer_on_an_image_the_score_is_zero(tmp_path: Path) -> None:
    questions = BENCHMARK.read(write(tmp_path))
    scores = summarise(BENCHMARK, predict(BENCHMARK, questions, {"4": "B"}))
    assert (scores.headline_percent, scores.num_missing) == (0.0, 4)


def test_without_a_question_on_an_image_there_is_no_score(tmp_path: Path) -> None:
    questions = [q for q in BENCHMARK.read(write(tmp_path)) if q.image_path is None]
    with pytest.raises(DataError, match="none of the 2 questions counts"):
        summarise(BENCHMARK, predict(BENCHMARK, questions, {"4": "B"}))


def test_two_models_are_compared_on_questions_with_an_image(tmp_path: Path) -> None:
    questions = BENCHMARK.read(write(tmp_path))
    right = {question.id: question.target for question in questions}
    for name, raws in (("a", right), ("b", {**right, "5": "A", "11": "x"})):
        write_predictions(tmp_path / f"{name}.jsonl", predict(BENCHMARK, questions, raws))
    (row,) = compare_models([tmp_path / "b.jsonl"], [tmp_path / "a.jsonl"]).rows
    assert row.difference_percent == pytest.approx(100 * 2 / 3)


def test_damage_is_named(tmp_path: Path) -> None:
    root = write(tmp_path)
    (root / "llava_test_CQM-A.json").write_text(json.dumps(llava_rows()[1:]))
    with pytest.raises(DataError, match="no question 4 of the test split"):
        BENCHMARK.read(root)
    (root / "llava_test_CQM-A.json").write_text(json.dumps([{"id": "4", "conversations": []}]))
    with pytest.raises(DataError, match=r"CQM-A.json\[0\]: 'conversations' has no turn"):
        BENCHMARK.read(root)
    (root / "llava_test_CQM-A.json").unlink()
    (root / "pid_splits.json").write_text(json.dumps({"test": ["4", "99"]}))
    with pytest.raises(DataError, match="problem 99 is not in"):
        BENCHMARK.read(root)
    (root / "pid_splits.json").write_text(json.dumps({"val": []}))
    with pytest.raises(DataError, match="a list 'test'"):
        BENCHMARK.read(root)
    (root / "pid_splits.json").write_text(json.dumps({"test": ["4"]}))
    (root / "problems.json").write_text(json.dumps({"4": {**PROBLEMS["4"], "answer": 3}}))
    with pytest.raises(DataError, match=r"problems.json\[4\]: answer 3 is not the place"):
        BENCHMARK.read(root)
    (root / "problems.json").write_text(json.dumps({"4": {**PROBLEMS["4"], "choices": ["one"]}}))
    with pytest.raises(DataError, match="expected 2 to 5 choices"):
        BENCHMARK.read(root)
