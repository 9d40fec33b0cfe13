"""Recomputing scores without a model."""

import json
from pathlib import Path

import pytest

from components.core.errors import DataError
from components.evaluation.benchmark import Question, get_benchmark
from components.evaluation.scoring.score import (
    PREDICTIONS,
    predict,
    read_predictions,
    score_predictions,
    summarise,
    without_duplicates,
    write_predictions,
)


def asked(count: int, target: str = "yes") -> list[Question]:
    return [
        Question(
            str(n), "gqa", f"Q{n}?", target, image_path=f"/raw/{n // 2}.jpg", group=str(n // 2)
        )
        for n in range(count)
    ]


def write(folder: Path, raws: dict[str, str | None], count: int = 8) -> Path:
    folder.mkdir()
    write_predictions(folder / PREDICTIONS, predict(get_benchmark("gqa"), asked(count), raws))
    return folder


def test_of_questions_with_one_id_the_last_counts() -> None:
    twice = [*asked(2), Question("0", "gqa", "newer", "no")]
    assert [(q.id, q.prompt) for q in without_duplicates(twice)] == [("0", "newer"), ("1", "Q1?")]


def test_missing_answers_are_wrong_and_said() -> None:
    benchmark = get_benchmark("gqa")
    scores = summarise(benchmark, predict(benchmark, asked(8), {"0": "yes", "1": None, "2": "no"}))
    assert scores.headline_percent == 12.5
    assert scores.num_missing == 6
    assert scores.note.startswith("incomplete: 6 of 8 answers are missing")


def test_a_row_holds_all_that_a_score_needs(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", {"0": "Yes."})
    row = json.loads((folder / PREDICTIONS).read_text().splitlines()[0])
    assert row == {
        "question_id": "0",
        "benchmark": "gqa",
        "image": "0.jpg",
        "prompt": "Q0?",
        "raw": "Yes.",
        "answer": "yes",
        "target": "yes",
        "score": 1.0,
        "group": "0",
        "meta": {},
    }
    missing = json.loads((folder / PREDICTIONS).read_text().splitlines()[1])
    assert (missing["raw"], missing["answer"], missing["score"]) == (None, "", 0.0)


def test_scores_come_from_raw_outputs_and_not_from_stored_scores(tmp_path: Path) -> None:
    folder = write(tmp_path / "a", dict.fromkeys(map(str, range(8)), "yes"))
    path = folder / PREDICTIONS
    path.write_text(path.read_text().replace('"score": 1.0', '"score": 0.0'))
    assert score_predictions(folder).headline_percent == 100.0
    assert read_predictions(folder) == read_predictions(path)


def test_files_that_hold_no_single_benchmark_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "predictions.jsonl"
    path.write_text("")
    with pytest.raises(DataError, match="found none"):
        read_predictions(path)
    path.write_text('{"benchmark": "gqa"}\n{"benchmark": "pope"}\n')
    with pytest.raises(DataError, match=r"found \['gqa', 'pope'\]"):
        read_predictions(path)
    path.write_text('{"benchmark": "gqa"}\n')
    with pytest.raises(DataError, match=r"predictions.jsonl:1: no 'question_id'"):
        read_predictions(path)
