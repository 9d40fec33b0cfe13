"""One benchmark from raw files to scores, with a target that needs no model."""

import json
from pathlib import Path
from typing import Any

import pytest

from components.core.config import parse
from components.core.errors import DataError
from components.evaluation.benchmark import Question
from components.evaluation.config import BenchmarkScores, EvaluationConfig
from components.evaluation.evaluate import evaluate
from components.evaluation.score import BLIND_PREDICTIONS, PREDICTIONS, SCORES, score_predictions

CONFIG = EvaluationConfig(batch_size=5, bootstrap_samples=200)


def sees(question: Question) -> str:
    """Read the answer off the picture's name, as only somebody who looks can."""
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
