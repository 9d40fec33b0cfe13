"""MM-Vet: hand-derived tables from the official evaluator, its prompt and its files."""

import hashlib
import json
from pathlib import Path

import pytest

from components.core.errors import DataError
from components.evaluation.benchmark import Judgement, Prediction
from components.evaluation.benchmarks import mm_vet
from components.evaluation.benchmarks.mm_vet import MmVet, read_grade
from components.evaluation.judge.mm_vet_prompt import TABLE, grading_prompt
from components.evaluation.scoring.score import predict, summarise
from tests.evaluation.conftest import write_json, write_lines

BENCH = MmVet()


@pytest.mark.parametrize(
    ("reply", "grade"),
    [
        ("0.5", 0.5),
        ("1.0", 1.0),
        ("0", 0.0),
        ("0.5 because", 0.5),
        ("0.7\n", 0.7),
        ("1e-1", 0.1),
        (".5", 0.5),
        ("-0", 0.0),
        ("0.5\nbecause", None),  # one word for a split at spaces
        ("1.1", None),
        ("-0.1", None),
        ("Score: 0.5", None),
        (" 0.5", None),  # before the first space stands nothing
        ("0.5,", None),
        ("0,5", None),
        ("0.5.", None),
        ("", None),
        ("nan", None),
        ("inf", None),
    ],
)
def test_the_number_before_the_first_space(reply: str, grade: float | None) -> None:
    assert read_grade(reply) == grade


def test_the_prompt_is_the_authors_to_the_letter() -> None:
    # sha256 of the string `prompt` in mm-vet_evaluator.py at acde843
    digest = "d1b3e0a5b4e72c888b77164489d705bba4dd149934fff564dfba6443d81afe3f"
    assert hashlib.sha256(TABLE.encode()).hexdigest() == digest
    asked = grading_prompt("Q?", "a<AND>b<OR>c", "said")
    assert asked == f"{TABLE}\nQ? | a <AND> b <OR> c | said | "
    insisting = grading_prompt("Q?", "a", "said", insisting=True)
    assert (
        insisting == f"{TABLE}\nQ? | a | said | \nPredict the correctness of the answer (digit): "
    )


ENTRIES = {
    "v1_0": {"imagename": "v1_0.png", "question": "x?", "answer": "-1<AND>-5",
             "capability": ["ocr", "math"], "imagesource": "web"},
    "v1_1": {"imagename": "v1_0.png", "question": "y?", "answer": "a dog<OR>dog",
             "capability": ["rec"], "imagesource": "web"},
    "v1_2": {"imagename": "v1_2.jpg", "question": "z?", "answer": "b",
             "capability": ["math", "ocr", "ocr"], "imagesource": "web"},
}  # fmt: skip


def files(folder: Path, prompted: bool = True) -> None:
    write_json(folder / "mm-vet.json", ENTRIES)
    if prompted:
        rows = [
            {"question_id": n, "image": ENTRIES[f"v1_{n}"]["imagename"], "text": f"asked {n}"}
            for n in (2, 0, 1)
        ]
        write_lines(folder / "llava-mm-vet.jsonl", rows)


def test_the_model_sees_the_prompt_file_and_the_judge_the_question(tmp_path: Path) -> None:
    files(tmp_path)
    questions = BENCH.read(tmp_path)
    assert [(q.id, q.prompt, q.group) for q in questions] == [
        ("v1_0", "asked 0", "v1_0.png"),
        ("v1_1", "asked 1", "v1_0.png"),
        ("v1_2", "asked 2", "v1_2.jpg"),
    ]
    requests = BENCH.requests(questions[0], "said")
    assert requests[0].prompt == grading_prompt("x?", "-1<AND>-5", "said")
    assert [r.temperature for r in requests] == [0.0, 0.0, 0.5, 1.0, 1.5]
    assert {r.max_tokens for r in requests} == {3}
    assert BENCH.requests(questions[0], None) == ()


def test_without_the_prompt_file_the_question_is_asked(tmp_path: Path) -> None:
    files(tmp_path, prompted=False)
    assert [q.prompt for q in BENCH.read(tmp_path)] == ["x?", "y?", "z?"]
    write_lines(tmp_path / "llava-mm-vet.jsonl", [{"question_id": 9, "text": "?"}])
    with pytest.raises(DataError, match=r"llava-mm-vet.jsonl:1: mm-vet.json has no 'v1_9'"):
        BENCH.read(tmp_path)


def judged(folder: Path, replies: dict[str, list[str]]) -> list[Prediction]:
    files(folder)
    raws = dict.fromkeys(replies, "said")
    judgements = {
        key: tuple(Judgement("gpt-4-0613", "p", (text,)) for text in runs)
        for key, runs in replies.items()
    }
    return predict(BENCH, BENCH.read(folder), raws, judgements)


def test_the_score_is_the_mean_by_capability_and_by_set(tmp_path: Path) -> None:
    scores = summarise(BENCH, judged(tmp_path, {"v1_0": ["0.5"], "v1_1": ["1.0"], "v1_2": ["0"]}))
    assert scores.headline_percent == pytest.approx(50.0)
    assert scores.details == {
        "capability/math": 25.0,
        "capability/ocr": 25.0,
        "capability/rec": 100.0,
        "integration/math_ocr": 25.0,
        "integration/rec": 100.0,
        "official/total": 50.0,
        "official/std": 0.0,
    }


def test_runs_are_averaged_and_their_spread_is_told(tmp_path: Path) -> None:
    replies = {"v1_0": ["0.5", "0.7"], "v1_1": ["1.0", "1.0"], "v1_2": ["0.0", "0.1"]}
    scores = summarise(BENCH, judged(tmp_path, replies))
    # Runs: 1.5 / 3 = 50.0 and 1.8 / 3 = 60.0.
    assert scores.headline_percent == pytest.approx(55.0)
    assert scores.details["official/run_0"] == 50.0
    assert scores.details["official/run_1"] == 60.0
    assert (scores.details["official/total"], scores.details["official/std"]) == (55.0, 5.0)


def test_what_has_no_grade_is_left_out_where_the_original_puts_zero(tmp_path: Path) -> None:
    replies = {"v1_0": ["good"], "v1_1": ["1.0"], "v1_2": ["0.5"]}
    scores = summarise(BENCH, judged(tmp_path, replies))
    assert scores.headline_percent == pytest.approx(75.0)
    assert scores.details["official/total"] == 50.0
    assert scores.num_judge_failures == 1
    assert scores.details["integration/math_ocr"] == 50.0


def test_a_missing_answer_is_wrong(tmp_path: Path) -> None:
    scores = summarise(BENCH, judged(tmp_path, {"v1_0": ["1.0"], "v1_1": ["1.0"]}))
    assert scores.headline_percent == pytest.approx(200 / 3)
    assert (scores.num_missing, scores.num_judge_failures) == (1, 0)


def test_the_evaluators_file_is_text_by_id(tmp_path: Path) -> None:
    files(tmp_path)
    (submission,) = mm_vet.SUBMISSIONS
    answers = [("v1_2", "c"), ("0", "a"), ("v1_1", "b"), ("v1_9", "x")]
    written = submission.write(tmp_path, answers, tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text()) == {
        "v1_0": "a",
        "v1_1": "b",
        "v1_2": "c",
    }
    assert (written.num_rows, written.num_unknown) == (3, 1)
    with pytest.raises(DataError, match="1 of 3 answers are missing, such as 'v1_1'"):
        submission.write(tmp_path, [("0", "a"), ("2", "c")], tmp_path / "out.json")


def test_the_proxy_takes_the_best_form(tmp_path: Path) -> None:
    files(tmp_path)
    both, either, _ = BENCH.read(tmp_path)
    assert BENCH.score("It is a dog", either) == pytest.approx(2 / 4)  # it, is, dog against dog
    assert BENCH.score("-1 and -5", both) == pytest.approx(4 / 5)  # 1, and, 5 against 1, 5
