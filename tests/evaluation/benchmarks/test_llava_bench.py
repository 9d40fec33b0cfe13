"""LLaVA-Bench: hand-derived tables from the original's scripts, and its files."""

import json
from pathlib import Path
from typing import Any

import pytest

from components.core.errors import DataError
from components.evaluation.benchmark import Judgement, Prediction, get_benchmark
from components.evaluation.benchmarks.llava_bench import LlavaBench, read_pair
from components.evaluation.scoring.score import predict, summarise
from tests.evaluation.conftest import write_json, write_lines

BENCH = LlavaBench()


@pytest.mark.parametrize(
    ("review", "pair"),
    [
        ("10 8", (10.0, 8.0)),
        ("8,9", (8.0, 9.0)),
        ("8.5 7\nAssistant 1 is better.", (8.5, 7.0)),
        ("8,9\r\nwhy", (8.0, 9.0)),
        ("0 0", (0.0, 0.0)),
        ("95 90", (95.0, 90.0)),  # off the scale, read all the same
        ("9 7 (explanation)", None),
        ("Score: 8", None),
        ("8, 9", None),  # the comma becomes a second space
        ("8  9", None),
        ("8 9 ", None),
        (" 8 9", None),
        ("\n8 9", None),
        ("8/10 9/10", None),
        ("8\t9", None),
        ("8", None),
        ("", None),
        ("nan 8", None),
        ("inf 8", None),
    ],
)
def test_two_numbers_on_the_first_line(review: str, pair: tuple[float, float] | None) -> None:
    assert read_pair(review) == pair
    assert BENCH.readable(review) == (pair is not None)


def files(folder: Path) -> None:
    """Three questions on two images; the answers stand in another order."""
    write_lines(
        folder / "questions.jsonl",
        [
            {"question_id": 0, "image": "001.jpg", "category": "conv", "text": "What?"},
            {"question_id": 1, "image": "001.jpg", "category": "detail", "text": "Describe."},
            {"question_id": 2, "image": "002.jpg", "category": "complex", "text": "Why?"},
        ],
    )
    write_lines(
        folder / "context.jsonl",
        [
            {"id": "002", "image": "002.jpg", "caption": ["A cat.", "A mat."]},
            {"id": "001", "image": "001.jpg", "caption": "A dog."},
        ],
    )
    write_lines(
        folder / "answers_gpt4.jsonl",
        [{"question_id": n, "text": f"reference {n}", "answer_id": f"a{n}"} for n in (2, 0, 1)],
    )
    rules = {
        f"llava_bench_{name}": {"role": "Assistant", "prompt": f"Rate {name}."}
        for name in ("conv", "detail", "complex")
    }
    write_json(folder / "rule.json", rules)


def test_files_are_joined_by_id_and_the_review_is_the_originals(tmp_path: Path) -> None:
    files(tmp_path)
    questions = BENCH.read(tmp_path)
    assert [(q.id, q.target, q.group) for q in questions] == [
        ("0", "reference 0", "001.jpg"),
        ("1", "reference 1", "001.jpg"),
        ("2", "reference 2", "002.jpg"),
    ]
    assert questions[0].prompt == "What?", "no response-format line"
    (request,) = BENCH.requests(questions[2], "because")
    assert request.prompt == (
        "[Context]\nA cat.\nA mat.\n\n"
        "[Question]\nWhy?\n\n"
        "[Assistant 1]\nreference 2\n\n[End of Assistant 1]\n\n"
        "[Assistant 2]\nbecause\n\n[End of Assistant 2]\n\n"
        "[System]\nRate complex.\n\n"
    )
    assert (request.temperature, request.max_tokens) == (0.2, 1024)
    assert request.system.startswith("You are a helpful and precise assistant")
    (missing,) = BENCH.requests(questions[2], None)
    assert missing.prompt == BENCH.requests(questions[2], "")[0].prompt


def test_other_rules_are_another_wording(tmp_path: Path) -> None:
    files(tmp_path)
    versions = {BENCH.prompt_version(question) for question in BENCH.read(tmp_path)}
    assert len(versions) == 3
    assert all(v.startswith("eval_gpt_review_bench.py@c121f04, rule ") for v in versions)


@pytest.mark.parametrize(
    ("name", "row", "complaint"),
    [
        ("context.jsonl", {"image": "9.jpg", "caption": ""}, "context.jsonl has no '001.jpg'"),
        ("answers_gpt4.jsonl", {"question_id": 7, "text": ""}, "answers_gpt4.jsonl has no '0'"),
        ("rule.json", {"llava_bench_conv": {"role": "A", "prompt": ""}}, "no 'llava_bench_detail'"),
        ("rule.json", {"llava_bench_conv": {"role": "A"}}, "'llava_bench_conv' has no text"),
    ],
    ids=["context", "answers", "rules", "rule"],
)
def test_files_that_do_not_belong_together(
    tmp_path: Path, name: str, row: dict[str, Any], complaint: str
) -> None:
    files(tmp_path)
    (tmp_path / name).write_text(json.dumps(row))
    with pytest.raises(DataError, match=complaint):
        BENCH.read(tmp_path)


def judged(folder: Path, replies: dict[str, str | None]) -> list[Prediction]:
    """Predictions whose reviews are as given; None is one that could not be had."""
    files(folder)
    questions = BENCH.read(folder)
    judgements = {
        key: (Judgement("gpt-4-0314", "p", () if text is None else (text,), "" if text else "429"),)
        for key, text in replies.items()
    }
    return predict(BENCH, questions, dict.fromkeys(("0", "1", "2"), "answer"), judgements)


def test_the_score_is_a_ratio_of_means_by_category_too(tmp_path: Path) -> None:
    # Reference 10 + 8 + 9 = 27, answers 5 + 8 + 6 = 19: 70.37; rounded means 9.0 and 6.333: 70.4.
    scores = summarise(BENCH, judged(tmp_path, {"0": "10 5", "1": "8 8\nx", "2": "9,6"}))
    assert scores.headline_percent == pytest.approx(100 * 19 / 27)
    assert scores.details["official/all"] == 70.4
    assert (scores.details["conv"], scores.details["official/conv"]) == (50.0, 50.0)
    assert (scores.details["detail"], scores.details["complex"]) == (100.0, pytest.approx(200 / 3))
    assert (scores.judge_model, scores.num_judge_failures) == ("gpt-4-0314", 0)
    assert scores.comparable
    assert scores.published["LLaVA-1.5-7B"] == 65.4
    assert scores.ci_low < scores.headline_percent < scores.ci_high


@pytest.mark.parametrize("failure", ["Both are good.", None], ids=["nonsense", "not to be had"])
def test_a_failed_review_is_left_out_and_the_originals_figure_is_a_detail(
    tmp_path: Path, failure: str | None
) -> None:
    predictions = judged(tmp_path, {"0": "10 5", "1": failure, "2": "10 6"})
    scores = summarise(BENCH, predictions)
    assert scores.headline_percent == pytest.approx(55.0)
    assert scores.num_judge_failures == 1
    assert "1 of 3 judgements failed" in scores.note
    # (10 - 1 + 10) / 3 = 6.333 and (5 - 1 + 6) / 3 = 3.333: 52.6
    assert scores.details["official/all"] == 52.6
    assert scores.details["official/detail"] == 100.0, "-1 / -1, as the original prints it"
    assert "detail" not in scores.details
    assert [p.graded for p in predictions] == [True, False, True]


def test_an_answer_may_be_better_than_the_reference(tmp_path: Path) -> None:
    scores = summarise(BENCH, judged(tmp_path, {"0": "5 10", "1": "5 10", "2": "5 10"}))
    assert scores.headline_percent == 200.0
    assert scores.details["reviews_off_scale"] == 0.0


def test_it_is_found_by_name() -> None:
    assert get_benchmark("llava_bench").title == "LLaVA-Bench"
