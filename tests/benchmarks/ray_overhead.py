"""What Ray and Ray Train add to a training step: the same loop under both and under neither.

The tiny recipe's second stage on two ranks of DeepSpeed ZeRO-3, one thread each. Plain: two
processes that meet over a file and take the steps. Ray: the stage as the chain runs it, with its
reports, curves and its watchdog, on a local cluster. Samples per second over ten steps at a time,
the first ten left out, in turns. Beside it, seconds from the call to the first step's end. Run it
with `python -m tests.benchmarks.ray_overhead`.
"""

import argparse
import json
import logging
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import distributed

from components.training.config import StageConfig
from components.training.curves import LogInterval
from components.training.engines.deepspeed_engine import DeepSpeedEngine, import_deepspeed
from components.training.loop import seed_step, train_step
from components.training.trainer import train_stage
from components.training.workers.ranks import AcrossRanks
from tests.benchmarks.training_parts import opened, prepare_data

STEPS, INTERVAL, RANKS = 50, 10, 2


def main() -> None:
    """Print both speeds and what lies between them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--plain-rank", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.plain_rank is not None:
        run_plain_rank(options.plain_rank, options.folder)
        return
    import ray

    speeds: dict[str, list[float]] = {"plain": [], "Ray Train": []}
    starts: dict[str, list[float]] = {"plain": [], "Ray Train": []}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        prepare_data(folder)
        for number in range(options.rounds):
            points, start = plain(folder, number)
            speeds["plain"] += points
            starts["plain"].append(start)
            ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
            points, start = under_ray(folder, number)
            ray.shutdown()
            speeds["Ray Train"] += points
            starts["Ray Train"].append(start)
    table = Table(title=f"{options.rounds} rounds of {STEPS} steps", title_justify="left")
    for column in ("way", "samples/s", "least", "most", "slower by", "first step after"):
        table.add_column(column, justify="left" if column == "way" else "right")
    best = statistics.median(speeds["plain"])
    for way, found in speeds.items():
        middle = statistics.median(found)
        table.add_row(
            way,
            f"{middle:.1f}",
            f"{min(found):.1f}",
            f"{max(found):.1f}",
            f"{best / middle - 1:.1%}",
            f"{statistics.median(starts[way]):.1f} s",
        )
    Console(width=100).print(table)


def stage() -> StageConfig:
    """Return the stage that both take."""
    from workflows.recipes.tiny import tiny

    return tiny().finetune.with_(
        max_steps=STEPS, log_every_steps=INTERVAL, checkpoint_every_steps=0, num_workers=RANKS
    )


class Points:
    """Writes points to a file: it is called in another process."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, metrics: dict[str, float], step: int) -> None:
        point = {"at": time.time(), "samples_per_s": metrics["train/samples_per_s"]}
        with self.path.open("a") as file:
            file.write(json.dumps(point) + "\n")

    def read(self, began: float) -> tuple[list[float], float]:
        """Return the speeds behind the first point, and the seconds to the first step's end."""
        points = [json.loads(line) for line in self.path.read_text().splitlines()]
        batch = stage().global_batch
        nine_steps = (INTERVAL - 1) * batch / points[0]["samples_per_s"]
        first = points[0]["at"] - began - nine_steps
        return [point["samples_per_s"] for point in points[1:]], first


def under_ray(folder: Path, number: int) -> tuple[list[float], float]:
    """Run the stage as the chain does."""
    materials, _, _ = opened(folder, "finetune")
    points = Points(folder / f"ray-{number}.jsonl")
    began = time.time()
    train_stage(
        stage(), folder / "finetune", materials.start, folder / f"model-{number}", f"run-{number}",
        str(folder / "storage"), points,
    )  # fmt: skip
    return points.read(began)


def plain(folder: Path, number: int) -> tuple[list[float], float]:
    """Run the same steps in two processes of our own."""
    points = Points(folder / "plain.jsonl")
    points.path.unlink(missing_ok=True)
    (folder / "meet").unlink(missing_ok=True)
    began = time.time()
    command = [sys.executable, "-m", "tests.benchmarks.ray_overhead", "--folder", str(folder)]
    ranks = [
        subprocess.Popen([*command, "--plain-rank", str(rank)], stderr=subprocess.DEVNULL)
        for rank in range(RANKS)
    ]
    for rank in ranks:
        if rank.wait(timeout=600):
            raise SystemExit(f"a plain rank of round {number} failed")
    return points.read(began)


def run_plain_rank(rank: int, folder: Path) -> None:
    """Take the steps of one rank, without Ray."""
    import os

    logging.disable(logging.WARNING)
    os.environ["LOCAL_RANK"] = str(rank)  # DeepSpeed insists on it
    torch.set_num_threads(1)
    import_deepspeed(use_gpu=False)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=RANKS
    )
    ranks, config = AcrossRanks(torch.device("cpu")), stage()
    materials, model, _ = opened(folder, "finetune")
    names = {id(p): name for name, p in model.model.named_parameters()}
    module = model.summed_loss(config)
    module.loss_module.runs_tower_for_text = True
    engine = DeepSpeedEngine(module, config, RANKS, names)
    batches = materials.open_batches(model, config, rank, RANKS).batches()
    points, interval = Points(folder / "plain.jsonl"), LogInterval()
    for step in range(STEPS):
        seed_step(config.seed, step, rank)
        interval.outcomes.append(
            train_step(engine, lambda: next(batches), 1e-4, config.micro_batch, ranks)
        )
        if (step + 1) % INTERVAL == 0:
            if rank == 0:
                points(interval.point(1e-4), step + 1)
            interval = LogInterval()
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
