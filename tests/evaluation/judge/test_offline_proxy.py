"""The stand-in for a judge: its formula, and its mark wherever it shows."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from components.data.pocket.config import PocketConfig
from components.data.pocket.world import write_world
from components.evaluation.benchmark import get_benchmark
from components.evaluation.config import JUDGED_BENCHMARKS, EvaluationConfig
from components.evaluation.evaluate import evaluate
from components.evaluation.judge.offline_proxy import word_f1
from components.evaluation.score_table import metrics, notes, score_table
from components.evaluation.scoring.score import PREDICTIONS, read_predictions, score_predictions


@pytest.mark.parametrize(
    ("answer", "reference", "f1"),
    [
        ("A dog.", "the dog", 1.0),
        ("a dog", "a dog and a cat", 2 * 1 / (1 + 3)),
        ("dog dog", "dog", 2 * 1 / (2 + 1)),
        ("cat", "dog", 0.0),
        ("", "dog", 0.0),
        ("", "", 0.0),
        ("the", "a", 0.0),
    ],
)
def test_word_f1(answer: str, reference: str, f1: float) -> None:
    assert word_f1(answer, reference) == pytest.approx(f1)


@given(st.text(), st.text())
def test_word_f1_is_symmetric_and_within_0_and_1(one: str, other: str) -> None:
    assert word_f1(one, other) == word_f1(other, one)
    assert 0.0 <= word_f1(one, other) <= 1.0


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("world")
    small = {name: 1 for name in PocketConfig.model_fields if name.startswith("num_")}
    write_world(PocketConfig(**{**small, "num_benchmark_questions": 60, "num_bad_rows": 0}), root)
    return root


@pytest.mark.parametrize("name", JUDGED_BENCHMARKS)
def test_a_proxy_is_marked_everywhere(
    world: Path, fake_target: Any, tmp_path: Path, name: str
) -> None:
    config = EvaluationConfig(bootstrap_samples=200, text_only_control=True)
    target = fake_target(lambda q: q.target if q.image_path else "nothing")
    scores = evaluate(config, name, world, target, tmp_path)
    assert scores.comparable is False
    assert scores.title.endswith("(offline proxy)")
    assert scores.headline_name.startswith("offline proxy")
    assert "not judged" in scores.note
    assert "not comparable: offline proxy" in scores.note
    assert scores.published == {}
    assert scores.judge_model == ""
    assert scores.metric == "offline_proxy"
    assert all(key.startswith(f"eval/{name}/offline_proxy/") for key in metrics(scores))
    assert "offline proxy" in notes([scores])[0]
    console = Console(width=120)
    with console.capture() as captured:
        console.print(score_table([scores]))
    assert "(offline proxy)" in captured.get()
    assert str(get_benchmark(name).published["LLaVA-1.5-7B"]) not in captured.get()
    assert scores.headline_percent > 60
    assert scores.text_only_percent == 0.0
    assert score_predictions(tmp_path, samples=200) == scores
    assert all(p.judgements == () for p in read_predictions(tmp_path / PREDICTIONS)[1])
