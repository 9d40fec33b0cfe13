"""A stage that is killed with -9 at random moments ends as if nothing had happened."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from components.training.config import BasePaths
from tests.training.kills import Kill, Order
from tests.training.tiny import stage

pytestmark = [pytest.mark.ray, pytest.mark.slow]

NUM_STEPS = 12
SETTINGS = {"num_workers": 2, "checkpoint_every_steps": 2, "max_failures": 2, "epochs": 2}
WORKER, DRIVER = {"worker": True, "driver": False}, {"worker": False, "driver": True}
BOTH = {"worker": True, "driver": True}
DEATHS = [WORKER, DRIVER, BOTH]
SEED = 20
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "RAY_worker_niceness": "0",
    "RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S": "0.5",
}


def attempt(order: Order, program: str = "kills") -> bool:
    """Start the stage, or go on with it; return whether it came to its end and was not killed."""
    order.folder.mkdir(parents=True, exist_ok=True)
    path = order.folder / "order.json"
    path.write_text(order.model_dump_json())
    process = subprocess.run(
        [sys.executable, "-m", f"tests.training.{program}", str(path)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, **ENVIRONMENT},
        check=False,
    )
    if process.returncode == -signal.SIGKILL:
        return False
    assert process.returncode == 0, process.stdout + process.stderr
    return True


@pytest.fixture(scope="module")
def unharmed(tmp_path_factory: pytest.TempPathFactory, base: BasePaths, prepared: Path) -> Order:
    folder = tmp_path_factory.mktemp("unharmed")
    order = Order(folder=folder, config=stage(**SETTINGS), base=base, data=prepared / "finetune")
    assert attempt(order)
    assert sorted(losses(order)) == list(range(1, NUM_STEPS + 1))
    return order


def losses(order: Order) -> dict[int, set[float]]:
    """Every loss that was told of each step, over all attempts."""
    told: dict[int, set[float]] = {}
    for point in order.points.read():
        told.setdefault(int(point["step"]), set()).add(point["train/loss"])
    return told


def test_kills_of_worker_driver_and_both_at_random_moments_change_no_bit(
    unharmed: Order, tmp_path: Path
) -> None:
    draw = random.Random(SEED)
    steps = sorted(draw.sample(range(1, NUM_STEPS), len(DEATHS)))
    # A step takes some 50 ms here: the moments lie in its passes, its exchange or its checkpoint.
    kills = tuple(
        Kill(step=step, rank=draw.randrange(2), delay_s=draw.uniform(0, 0.1), **death)
        for step, death in zip(steps, draw.sample(DEATHS, len(DEATHS)), strict=True)
    )
    order = unharmed.model_copy(update={"folder": tmp_path, "kills": kills})
    # Two kills may fall so close together that the driver dies once for both.
    attempts = [attempt(order)]
    while not attempts[-1] and len(attempts) < len(kills):
        attempts.append(attempt(order))
    assert len(attempts) > 1
    assert attempts[-1]
    assert len(list((tmp_path / "marks").iterdir())) == len(kills)
    assert order.weights == unharmed.weights
    assert losses(order) == losses(unharmed)


def test_a_killed_run_goes_on_with_fewer_workers_on_the_same_data(
    unharmed: Order, tmp_path: Path
) -> None:
    kills = (Kill(step=7, rank=0, delay_s=0.0, **BOTH),)
    order = unharmed.model_copy(update={"folder": tmp_path, "kills": kills})
    assert not attempt(order)
    alone = order.model_copy(update={"config": order.config.with_(num_workers=1)})
    assert attempt(alone)
    expected = losses(unharmed)
    for step, found in losses(order).items():
        assert list(found) == pytest.approx(len(found) * list(expected[step]), rel=1e-4)


def test_a_stage_outlives_what_steers_its_workers(unharmed: Order, tmp_path: Path) -> None:
    """Its processors come back though the job lives on: two workers take all there are."""
    order = unharmed.model_copy(update={"folder": tmp_path})
    assert attempt(order, "killed_steering")
    assert {path.name for path in tmp_path.glob("died-*")} == {"died-4", "died-8"}
    assert order.weights == unharmed.weights
    assert losses(order) == losses(unharmed)


def test_a_stage_outlives_its_node_by_the_checkpoint_of_a_notice(
    unharmed: Order, tmp_path: Path
) -> None:
    """Nothing but the notice makes a checkpoint, and no failure is allowed."""
    config = unharmed.config.with_(checkpoint_every_steps=0, max_failures=0)
    order = unharmed.model_copy(update={"folder": tmp_path, "config": config})
    assert attempt(order, "taken_node")
    saved = [path.name for path in (tmp_path / "storage" / "run").glob("step-*")]
    assert len(saved) == 1, saved
    assert order.weights == unharmed.weights
    assert losses(order) == losses(unharmed)
