"""One benchmark from raw files to scores, with a target that needs no model."""

import json
from pathlib import Path
from typing import Any

import pytest

from components.core.config import parse
from components.core.errors import DataError, EndpointError
from components.evaluation.benchmark import Question
from components.evaluation.config import BenchmarkScores, EvaluationConfig, JudgeConfig
from components.evaluation.evaluate import evaluate
from components.evaluation.scoring.comparison import compare_models
from components.evaluation.scoring.score import (
    BLIND_PREDICTIONS,
    PREDICTIONS,
    SCORES,
    TEXT_ONLY_PREDICTIONS,
    score_predictions,
)
from components.evaluation.scoring.seeds import summarise_seeds
from tests.evaluation.conftest import write_image, write_json
from tests.evaluation.judge_server import Fault, JudgeServer, Named, serve

CONFIG = EvaluationConfig(batch_size=5, bootstrap_samples=200)


def sees(question: Question) -> str:
    """Read the answer off the image's name, as only somebody who looks can."""
    return Path(str(question.image_path)).stem.removeprefix("n")


def test_a_target_that_looks_is_told_from_its_blind_self(
    gqa_root: Path, fake_target: Any, tmp_path: Path
) -> None:
    target = fake_target(sees)
    scores = evaluate(CONFIG, "gqa", gqa_root, target, tmp_path / "out")
    assert scores.headline_percent == 100.0
    assert scores.blind_percent == 0.0
    assert scores.difference_percent == 100.0
    assert (scores.ci_high, scores.num_questions, scores.num_missing) == (100.0, 12, 0)
    assert scores.ci_low < 100.0
    assert len(target.asked) == 24
    assert scores.published["LLaVA-1.5-7B"] == 62.0


def test_a_target_that_does_not_look_scores_the_same_blind(
    gqa_root: Path, fake_target: Any, tmp_path: Path
) -> None:
    scores = evaluate(CONFIG, "gqa", gqa_root, fake_target(lambda q: "1"), tmp_path / "out")
    assert scores.headline_percent == scores.blind_percent == pytest.approx(100 / 6)
    assert scores.difference_percent == 0.0


def test_recomputed_scores_are_the_same(gqa_root: Path, fake_target: Any, tmp_path: Path) -> None:
    def half(question: Question) -> str | None:
        number = int(question.id)
        return sees(question) if number % 3 else None if number % 2 else "x"

    scores = evaluate(CONFIG, "gqa", gqa_root, fake_target(half), tmp_path / "out")
    assert scores.num_missing == 2
    assert score_predictions(tmp_path / "out", samples=200) == scores
    stored = json.loads((tmp_path / "out" / SCORES).read_text())
    assert parse(BenchmarkScores, stored) == scores


def test_the_blind_pass_can_be_left_out(gqa_root: Path, fake_target: Any, tmp_path: Path) -> None:
    config = CONFIG.with_(blind_control=False)
    scores = evaluate(config, "gqa", gqa_root, fake_target(sees), tmp_path / "out")
    assert scores.blind_percent is scores.difference_percent is None
    assert not (tmp_path / "out" / BLIND_PREDICTIONS).exists()


def test_a_limit_asks_fewer(gqa_root: Path, fake_target: Any, tmp_path: Path) -> None:
    scores = evaluate(CONFIG.with_(limit=3), "gqa", gqa_root, fake_target(sees), tmp_path / "out")
    assert scores.num_questions == 4


def test_a_resumed_evaluation_scores_as_an_uninterrupted_one(
    gqa_root: Path, fake_target: Any, tmp_path: Path
) -> None:
    def stop(done: int, total: int) -> None:
        if done >= 10:
            raise KeyboardInterrupt

    first, second = fake_target(sees), fake_target(sees)
    with pytest.raises(KeyboardInterrupt):
        evaluate(CONFIG, "gqa", gqa_root, first, tmp_path / "a", tmp_path / "resume", stop)
    resumed = evaluate(CONFIG, "gqa", gqa_root, second, tmp_path / "a", tmp_path / "resume")
    whole = evaluate(CONFIG, "gqa", gqa_root, fake_target(sees), tmp_path / "b")
    assert resumed == whole
    assert len(first.asked) + len(second.asked) == 24
    files = [(tmp_path / run / PREDICTIONS).read_bytes() for run in "ab"]
    assert files[0] == files[1]


def test_a_target_that_answers_nothing_is_an_error(
    gqa_root: Path, fake_target: Any, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="GQA: not one of 12 questions could be answered"):
        evaluate(CONFIG, "gqa", gqa_root, fake_target(lambda q: None), tmp_path / "out")


def test_the_settings_of_one_benchmark_do_not_know_the_others() -> None:
    more = EvaluationConfig(benchmarks=("pope", "gqa", "mme"))
    fewer = EvaluationConfig(benchmarks=("gqa",))
    assert more.for_benchmark("gqa") == fewer.for_benchmark("gqa")


def test_the_third_pass_shows_no_image(gqa_root: Path, fake_target: Any, tmp_path: Path) -> None:
    target = fake_target(lambda q: sees(q) if q.image_path else "0")
    scores = evaluate(
        CONFIG.with_(text_only_control=True), "gqa", gqa_root, target, tmp_path / "out"
    )
    assert len(target.asked) == 36
    assert sum(question.image_key is None for question in target.asked) == 12
    assert scores.text_only_percent == pytest.approx(100 / 6)
    assert scores.text_only_difference_percent == pytest.approx(500 / 6)
    assert scores.text_only_difference_ci_low is not None
    assert scores.text_only_difference_ci_low > 0
    rows = (tmp_path / "out" / TEXT_ONLY_PREDICTIONS).read_text().splitlines()
    assert {json.loads(row)["image"] for row in rows} == {None}
    assert score_predictions(tmp_path / "out", samples=200) == scores


def judged(root: Path, target: Any, out: Path, server: JudgeServer, **changes: Any) -> Any:
    judge = JudgeConfig(base_url=server.url, model="gpt-4-0613", max_retries=1, first_wait_s=0.01)
    config = CONFIG.with_(judge=judge.with_(**changes), text_only_control=True)
    return evaluate(config, "mm_vet", root, target, out, f"{out}-resume", judge_key="key")


@pytest.fixture
def mm_vet_root(tmp_path: Path) -> Path:
    folder = tmp_path / "raw" / "eval" / "mm-vet"
    entries = {}
    for number in range(8):
        image = f"v1_{number // 2}.jpg"
        entries[f"v1_{number}"] = {
            "imagename": image,
            "question": f"Number {number}?",
            "answer": str(number),
            "capability": ["rec"] if number % 2 else ["ocr"],
        }
        write_image(folder / "images" / image, number)
    write_json(folder / "mm-vet.json", entries)
    return tmp_path / "raw"


def grades(body: dict[str, Any]) -> Any:
    """Half a point for whoever says the number, nothing else; question 3 cannot be judged."""
    _, truth, said, _ = body["messages"][-1]["content"].split("\n")[-1].split(" | ")
    return Fault(400, "filtered") if truth == "3" else "0.5" if said == truth else "0.0 no"


def test_judged_scores_are_recomputed_without_model_and_judge(
    mm_vet_root: Path, fake_target: Any, tmp_path: Path
) -> None:
    def reply(question: Question) -> str:
        return str(question.target) if question.image_path else "none"

    with serve(grades) as server:
        scores = judged(mm_vet_root, fake_target(reply), tmp_path / "a", server)
        num_asked = len(server.bodies)
        again = judged(mm_vet_root, fake_target(reply), tmp_path / "a", server)
    # Plain and blind answers are equal here and judged once; text-only ones differ. What failed is
    # not kept, so question 3 is asked again.
    assert num_asked == 16
    assert len(server.bodies) == 16 + 2
    assert again == scores
    assert scores.headline_percent == scores.blind_percent == pytest.approx(50.0)
    assert scores.text_only_percent == 0.0
    assert scores.text_only_difference_percent == pytest.approx(50.0)
    assert (scores.num_questions, scores.num_judge_failures) == (8, 1)
    assert scores.judge_model == "gpt-4-0613"
    assert scores.judge_prompt == "mm-vet_evaluator.py@acde843"
    assert scores.metric == "percent_by_gpt-4-0613"
    assert scores.comparable
    assert score_predictions(tmp_path / "a", samples=200) == scores
    rows = [json.loads(row) for row in (tmp_path / "a" / PREDICTIONS).read_text().splitlines()]
    assert rows[0]["judgements"][0]["replies"] == ["0.5"]
    assert rows[3]["score"] is None
    assert "filtered" in rows[3]["judgements"][0]["error"]
    stored = "".join(p.read_text() for p in tmp_path.rglob("*.json*"))
    assert "Bearer" not in stored


def test_runs_of_different_judges_are_not_compared(
    mm_vet_root: Path, fake_target: Any, tmp_path: Path
) -> None:
    with serve(lambda body: "0.5") as server:
        judged(mm_vet_root, fake_target(sees), tmp_path / "a", server)
        judged(mm_vet_root, fake_target(sees), tmp_path / "b", server)
        judged(mm_vet_root, fake_target(sees), tmp_path / "c", server, model="other")
    evaluate(CONFIG, "mm_vet", mm_vet_root, fake_target(sees), tmp_path / "d")
    (row,) = compare_models([tmp_path / "a"], [tmp_path / "b"]).rows
    assert row.difference_percent == 0.0
    with pytest.raises(DataError, match=r"by gpt-4-0613 .*by other .*same judge"):
        compare_models([tmp_path / "a"], [tmp_path / "c"])
    with pytest.raises(DataError, match="no judge \\(offline proxy\\)"):
        compare_models([tmp_path / "a"], [tmp_path / "d"])
    for other in "cd":
        with pytest.raises(DataError, match="same judge"):
            summarise_seeds([tmp_path / "a", tmp_path / other])
    assert summarise_seeds([tmp_path / "a", tmp_path / "b"]).percents == (50.0, 50.0)
    (row,) = compare_models([tmp_path / "d"], [tmp_path / "d"]).rows
    assert row.title.endswith("(offline proxy)")
    assert row.difference_percent == 0.0


def test_another_judge_than_the_published_one_is_said(
    mm_vet_root: Path, fake_target: Any, tmp_path: Path
) -> None:
    with serve(lambda body: Named("0.5", "other-2024")) as server:
        scores = judged(mm_vet_root, fake_target(sees), tmp_path / "a", server, model="other")
    assert "judged by other (mm-vet_evaluator.py@acde843)" in scores.note
    assert "the endpoint calls itself other-2024" in scores.note
    assert "the published figures were judged by gpt-4-0613" in scores.note


def test_a_judge_that_cannot_be_reached_leaves_no_score(
    mm_vet_root: Path, fake_target: Any, tmp_path: Path
) -> None:
    with serve(lambda body: Fault(503)) as server, pytest.raises(EndpointError):
        judged(mm_vet_root, fake_target(sees), tmp_path / "a", server)
    assert not (tmp_path / "a" / SCORES).exists()
