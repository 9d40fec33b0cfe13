"""SEED-Bench: plain equality, both versions of its file, twelve dimensions."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from components.core.errors import DataError
from components.data.response_formats import OPTION_LETTER
from components.evaluation.benchmark import Question
from components.evaluation.benchmarks.seed import BENCHMARK
from components.evaluation.scoring.score import predict, summarise

DIMENSIONS = {
    "Scene Understanding": 1, "Instances Counting": 5, "Action Recognition": 10,
}  # fmt: skip


@pytest.mark.parametrize(
    ("raw", "expected"),
    [("A", 1.0), ("A.", 0.0), (" A", 0.0), ("A\n", 0.0), ("a", 0.0), ("(A)", 0.0),
     ("A. One", 0.0), ("The answer is A.", 0.0), ("B", 0.0), ("", 0.0)],
)  # fmt: skip
def test_the_output_must_be_the_letter(raw: str, expected: float) -> None:
    question = Question("1", "seed", "?", "A")
    assert BENCHMARK.score(BENCHMARK.parse(raw, question), question) == expected


def row(key: str, kind: int, answer: str = "A") -> dict[str, Any]:
    video = kind >= 10
    return {
        "question_id": key,
        "question_type_id": kind,
        "data_type": "video" if video else "image",
        "data_id": f"{key}.webm" if video else "1454426_2591111986",
        "question": f"Question {key}?",
        **{f"choice_{letter}": f"choice {letter}" for letter in "abcd"},
        "answer": answer,
    }


ROWS = [row("101669", 5), row("101670", 1, "B"), row("v0", 10, "C"), row("v1", 10)]


def llava(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    names = {number: name for name, number in DIMENSIONS.items()}
    made = []
    for one in rows:
        key, kind = one["question_id"], one["question_type_id"]
        image = f"SEED-Bench-image/{one['data_id']}"
        if one["data_type"] == "video":
            image = f"SEED-Bench-video-image/{kind}_{key}.png"
        options = "\n".join(f"{letter}. choice {letter.lower()}" for letter in "ABCD")
        made.append(
            {
                "image": image,
                "text": f"Question {key}?\n{options}\n{OPTION_LETTER}",
                "category": names[kind],
                "question_id": int(key) if key.isdigit() else key,
            }
        )
    return made


def write(
    root: Path, rows: list[dict[str, Any]], prompts: list[dict[str, Any]] | None = None
) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    value = {"question_type": DIMENSIONS, "questions": rows}
    (root / "SEED-Bench.json").write_text(json.dumps(value))
    if prompts is not None:
        lines = "".join(json.dumps(prompt) + "\n" for prompt in prompts)
        (root / "llava-seed-bench.jsonl").write_text(lines)
    return root


def test_questions_are_the_same_with_and_without_the_originals_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with_file = BENCHMARK.read(write(tmp_path, ROWS, llava(ROWS)[::-1]))
    (tmp_path / "llava-seed-bench.jsonl").unlink()
    assert BENCHMARK.read(tmp_path) == with_file
    assert not caplog.records
    assert [question.id for question in with_file] == ["101669", "101670", "v0", "v1"]
    images = [Path(str(question.image_path)).relative_to(tmp_path) for question in with_file]
    assert str(images[0]) == "SEED-Bench-image/1454426_2591111986"
    assert str(images[2]) == "SEED-Bench-video-image/10_v0.png"
    assert with_file[0].cluster == with_file[1].cluster != with_file[2].cluster


def test_the_refreshed_file_is_read_with_the_older_question_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """19,242 questions in the one, 17,990 in the other: those of SEED-Bench.json are asked."""
    with caplog.at_level(logging.WARNING):
        questions = BENCHMARK.read(write(tmp_path, ROWS[:3], llava(ROWS)))
    assert [question.id for question in questions] == ["101669", "101670", "v0"]
    assert "has 3 questions and llava-seed-bench.jsonl 4" in caplog.text
    assert "0 of them with a prompt made here" in caplog.text


def test_the_older_file_is_read_with_a_newer_question_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        questions = BENCHMARK.read(write(tmp_path, ROWS, llava(ROWS[:2])))
    assert len(questions) == 4
    assert questions[3].prompt == llava(ROWS)[3]["text"]
    assert "2 of them with a prompt made here" in caplog.text


def test_a_prompt_for_another_question_of_the_same_id_is_not_used(tmp_path: Path) -> None:
    prompts = llava(ROWS)
    prompts[0]["text"] = prompts[0]["text"].replace("Question", "Another question")
    prompts[0]["image"] = "SEED-Bench-image/another"
    question = BENCHMARK.read(write(tmp_path, ROWS, prompts))[0]
    assert question.prompt == llava(ROWS)[0]["text"]
    assert str(question.image_path).endswith("1454426_2591111986")


def test_totals_and_dimensions(tmp_path: Path) -> None:
    questions = BENCHMARK.read(write(tmp_path, ROWS))
    raws = {"101669": "A", "101670": "A", "v0": "C"}
    scores = summarise(BENCHMARK, predict(BENCHMARK, questions, raws))
    assert scores.headline_percent == scores.details["all"] == 50.0
    assert (scores.details["image"], scores.details["video"]) == (50.0, 50.0)
    assert scores.details["dimension/Instances Counting"] == 100.0
    assert scores.details["dimension/Scene Understanding"] == 0.0
    assert scores.details["dimension/Action Recognition"] == 50.0
    assert scores.num_missing == 1
    assert "count as wrong" in scores.note


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question_type_id": 99}, r"\[0\]: question_type_id 99 has no name"),
        ({"data_type": "Single Image"}, "this reads SEED-Bench v1"),
        ({"answer": "E"}, "answer 'E' is not one of ABCD"),
    ],
)
def test_damage_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        BENCHMARK.read(write(tmp_path, [{**ROWS[0], **change}]))
    gone = {name: value for name, value in ROWS[0].items() if name != "choice_c"}
    with pytest.raises(DataError, match=r"SEED-Bench.json\[0\]: no 'choice_c'"):
        BENCHMARK.read(write(tmp_path, [gone]))
    (tmp_path / "SEED-Bench.json").write_text("[]")
    with pytest.raises(DataError, match="expected an object with 'questions'"):
        BENCHMARK.read(tmp_path)
