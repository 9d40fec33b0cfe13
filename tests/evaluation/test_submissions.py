"""Uploads: read back, joined by id, refused where the server would refuse."""

import base64
import json
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.core.errors import ConfigError, DataError
from components.data.response_formats import SHORT_ANSWER
from components.evaluation.benchmark import get_benchmark
from components.evaluation.benchmarks import mmbench, seed
from components.evaluation.scoring.answers import normalise_evalai
from components.evaluation.submissions import (
    get_submission,
    joined,
    submission_folder,
    submission_names,
)

COLUMNS = ["index", "question", "hint", "A", "B", "C", "D", "answer", "category", "image",
           "source", "l2-category", "comment", "split"]  # fmt: skip


def lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def coco_row(number: int) -> dict[str, Any]:
    return {
        "question_id": 262_144_000 + number,
        "image": f"COCO_test2015_{262_144 + number:012d}.jpg",
        "text": f"Q{number}?\n{SHORT_ANSWER}",
        "category": "default",
    }


def test_names_and_folders(tmp_path: Path) -> None:
    assert submission_names() == [
        "mm-vet", "mmbench-cn-dev", "mmbench-cn-test", "mmbench-dev", "mmbench-test",
        "seed-leaderboard",
        "vizwiz-test", "vqav2-test-dev",
    ]  # fmt: skip
    for name in submission_names():
        submission = get_submission(name)
        assert submission.name == name
        folder = submission_folder(submission, tmp_path)
        assert folder == tmp_path / "eval" / get_benchmark(submission.benchmark).folder
    with pytest.raises(ConfigError, match="no submission is called 'mmvet'; there are: mm-vet"):
        get_submission("mmvet")


def test_vqav2_covers_the_whole_of_test2015(tmp_path: Path) -> None:
    lines(tmp_path / "llava_vqav2_mscoco_test2015.jsonl", [coco_row(n) for n in (3, 1, 2, 0)])
    lines(tmp_path / "llava_vqav2_mscoco_test-dev2015.jsonl", [coco_row(n) for n in (1, 2, 3)])
    submission = get_submission("vqav2-test-dev")
    questions = submission.read(tmp_path)
    assert [question.target for question in questions] == [None] * 3
    assert str(questions[0].image_path).endswith("test2015/COCO_test2015_000000262145.jpg")
    answers = [("262144002", "A dog."), ("262144001", "x"), ("262144001", "Two"), ("7", "stray")]
    written = submission.write(tmp_path, answers, tmp_path / "up" / submission.file_name)
    assert json.loads(written.path.read_text()) == [
        {"question_id": 262144003, "answer": ""},
        {"question_id": 262144001, "answer": "2"},
        {"question_id": 262144002, "answer": "dog"},
        {"question_id": 262144000, "answer": ""},
    ]
    assert (written.num_rows, written.num_missing) == (4, 1)  # of the three that were asked
    assert (written.num_duplicates, written.num_unknown) == (1, 1)


def test_vizwiz_is_refused_while_an_answer_is_missing(tmp_path: Path) -> None:
    rows = [
        {
            "question_id": n,
            "image": f"VizWiz_test_{n:08d}.jpg",
            "text": "Q?",
            "category": "default",
        }
        for n in range(3)
    ]
    lines(tmp_path / "llava_test.jsonl", rows)
    submission = get_submission("vizwiz-test")
    questions = submission.read(tmp_path)
    assert str(questions[2].image_path).endswith("test/VizWiz_test_00000002.jpg")
    path = tmp_path / "vizwiz.json"
    with pytest.raises(DataError, match="1 of 3 answers are missing, such as '1'"):
        submission.write(tmp_path, [("0", "a"), ("1", None), ("2", "b")], path)
    assert not path.exists()
    answers = [("2", "Unanswerable"), ("1", "The cup!"), ("0", "")]
    submission.write(tmp_path, answers, path)
    assert json.loads(path.read_text()) == [
        {"image": "VizWiz_test_00000000.jpg", "answer": ""},
        {"image": "VizWiz_test_00000001.jpg", "answer": "cup"},
        {"image": "VizWiz_test_00000002.jpg", "answer": "unanswerable"},
    ]


def table(path: Path, answered: bool = True) -> None:
    columns = [column for column in COLUMNS if answered or column != "answer"]
    image = base64.b64encode(b"image").decode()
    text = ["\t".join(columns)]
    for index, options in ((241, ["=1+1", "two", "", ""]), (1_000_241, ["two", "=1+1", "nan", ""])):
        row = dict(zip("ABCD", options, strict=True)) | {
            "index": str(index), "question": "How many?", "hint": "Look.", "answer": "A",
            "category": "c", "image": image, "source": "s", "l2-category": "l", "comment": "",
            "split": "dev",
        }  # fmt: skip
        text.append("\t".join(row[column] for column in columns))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(text) + "\n", encoding="utf-8")


def test_mmbench_writes_the_official_columns(tmp_path: Path) -> None:
    table(tmp_path / mmbench.BENCHMARK.table)
    submission = get_submission("mmbench-dev")
    assert submission.read(tmp_path) == mmbench.BENCHMARK.read(tmp_path)
    # Raw outputs as they are: no letter is looked for, no formula made, control characters dropped.
    answers = [("1000241", "=A1\x07 is the answer")]
    written = submission.write(tmp_path, answers, tmp_path / submission.file_name)
    sheet = openpyxl.load_workbook(written.path).active
    assert [list(row) for row in sheet.iter_rows(values_only=True)] == [
        ["index", "question", "A", "B", "C", "D", "prediction", "answer", "split"],
        [241, "How many?", "=1+1", "two", None, None, None, "A", "dev"],
        [1_000_241, "How many?", "two", "=1+1", None, None, "=A1 is the answer", "A", "dev"],
    ]
    assert sheet["C2"].data_type == sheet["G3"].data_type == "s"
    assert (written.num_rows, written.num_missing, written.path.suffix) == (2, 1, ".xlsx")


def test_the_test_split_of_mmbench_has_no_answers(tmp_path: Path) -> None:
    submission = get_submission("mmbench-cn-test")
    table(tmp_path / "mmbench_test_cn_20231003.tsv", answered=False)
    questions = submission.read(tmp_path)
    assert [question.target for question in questions] == [None, None]
    assert questions[0].benchmark == "mmbench_cn"
    written = submission.write(tmp_path, [("241", "B")], tmp_path / submission.file_name)
    rows = list(openpyxl.load_workbook(written.path).active.iter_rows(values_only=True))
    assert rows[0] == ("index", "question", "A", "B", "C", "D", "prediction", "split")
    assert rows[1][6] == "B"


def test_seed_writes_a_line_per_question_unparsed(tmp_path: Path) -> None:
    rows = [
        {
            "question_id": key,
            "question_type_id": 1,
            "data_type": "image",
            "data_id": "d",
            "question": "Q?",
            **dict.fromkeys(("choice_a", "choice_b", "choice_c", "choice_d"), "x"),
            "answer": "A",
        }
        for key in ("101669", "v7")
    ]
    value = {"question_type": {"Scene Understanding": 1}, "questions": rows}
    (tmp_path / "SEED-Bench.json").write_text(json.dumps(value))
    submission = get_submission("seed-leaderboard")
    assert submission.read(tmp_path) == seed.BENCHMARK.read(tmp_path)
    path = tmp_path / "up.jsonl"
    with pytest.raises(DataError, match="1 of 2 answers are missing, such as '101669'"):
        submission.write(tmp_path, [("v7", "A")], path)
    submission.write(tmp_path, [("v7", "B. x"), ("101669", "A")], path)
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"question_id": "101669", "prediction": "A"},
        {"question_id": "v7", "prediction": "B. x"},
    ]


def test_answers_to_other_questions_are_refused(tmp_path: Path) -> None:
    lines(tmp_path / "llava_vqav2_mscoco_test2015.jsonl", [coco_row(0)])
    lines(tmp_path / "llava_vqav2_mscoco_test-dev2015.jsonl", [coco_row(0)])
    with pytest.raises(DataError, match=r"such as '42'; questions are like '262144000'"):
        get_submission("vqav2-test-dev").write(tmp_path, [("42", "x")], tmp_path / "o.json")
    lines(tmp_path / "llava_vqav2_mscoco_test2015.jsonl", [coco_row(0), coco_row(0)])
    with pytest.raises(DataError, match="1 question ids stand twice"):
        get_submission("vqav2-test-dev").write(tmp_path, [("42", "x")], tmp_path / "o.json")


@given(
    st.lists(st.tuples(st.sampled_from("abcdxy"), st.sampled_from(["1", "2", None])), max_size=12)
)
def test_every_answer_is_counted_once(answers: list[tuple[str, str | None]]) -> None:
    ids = list("abcd")
    known = [(key, raw) for key, raw in answers if key in ids and raw is not None]
    if not known:
        with pytest.raises(DataError, match="none of the answers"):
            joined("s", ids, answers, complete=False)
        return
    found = joined("s", ids, answers, complete=False)
    assert dict(found.raws) == dict(known)
    assert found.num_missing == 4 - len(found.raws)
    assert len(found.raws) + found.num_duplicates == len(known)
    assert found.num_unknown == sum(key not in ids for key, _ in answers)


def test_an_empty_answer_is_not_changed_by_the_processor() -> None:
    assert normalise_evalai("") == ""
