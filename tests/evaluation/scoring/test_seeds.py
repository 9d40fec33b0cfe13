"""Means and deviations over seeds, by hand."""

from pathlib import Path

import pytest
from rich.console import Console

from components.core.errors import DataError
from components.evaluation.benchmark import Question, get_benchmark
from components.evaluation.scoring.score import PREDICTIONS, predict, write_predictions
from components.evaluation.scoring.seeds import seeds_table, summarise_seeds


def seed(folder: Path, num_right: int, count: int = 50, benchmark: str = "gqa") -> Path:
    folder.mkdir()
    questions = [Question(str(n), benchmark, f"Q{n}?", "yes") for n in range(count)]
    raws = {str(n): "yes" if n < num_right else "no" for n in range(count)}
    write_predictions(folder / PREDICTIONS, predict(get_benchmark(benchmark), questions, raws))
    return folder


def group(root: Path, name: str, *rights: int) -> list[Path]:
    return [seed(root / f"{name}{place}", right) for place, right in enumerate(rights)]


def test_mean_and_deviation(tmp_path: Path) -> None:
    found = summarise_seeds(group(tmp_path, "s", 40, 42, 44))  # 80, 84, 88
    assert found.percents == (80.0, 84.0, 88.0)
    assert (found.num_seeds, found.mean, found.deviation) == (3, 84.0, pytest.approx(4.0))
    # 4.3027 (t, 2 degrees of freedom) x 4 / sqrt(3)
    assert found.high is not None
    assert found.high - found.mean == pytest.approx(9.937, abs=0.001)
    console = Console(width=100)
    with console.capture() as captured:
        console.print(seeds_table([found]))
    assert all(part in captured.get() for part in ("GQA", "84.0", "4.00", "80.0  84.0  88.0"))


def test_one_seed_has_no_deviation(tmp_path: Path) -> None:
    found = summarise_seeds(group(tmp_path, "s", 40))
    assert (found.mean, found.deviation, found.low) == (80.0, None, None)


def test_other_questions_are_refused(tmp_path: Path) -> None:
    one = seed(tmp_path / "one", 40)
    with pytest.raises(DataError, match="1 questions differ"):
        summarise_seeds([one, seed(tmp_path / "short", 40, count=49)])
    with pytest.raises(DataError, match="is of textvqa"):
        summarise_seeds([one, seed(tmp_path / "other", 0, benchmark="textvqa")])
    with pytest.raises(DataError, match="no result folder"):
        summarise_seeds([])
