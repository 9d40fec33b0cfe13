"""How long a checkpoint keeps training from its next step, beside saving while all wait.

The state of the tiny recipe's second stage (weights, both Adam moments, fp32) behind DeepSpeed
ZeRO-3 in one process. Synchronous: copy, write, hash, and bring to the run's storage, as before the
next step could begin. Ours: the copy alone, and the start of the thread that does the rest. In
turns; seconds of wall clock. Run it with `python -m tests.benchmarks.checkpoints`.
"""

import argparse
import os
import shutil
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import distributed

from components.training.checkpoints.checkpointing import (
    Copies,
    Progress,
    take_snapshot,
    write_snapshot,
)
from components.training.checkpoints.saving import PendingCheckpoint
from components.training.engines.deepspeed_engine import DeepSpeedEngine, import_deepspeed
from components.training.loop import train_step
from components.training.workers.ranks import AcrossRanks
from tests.benchmarks.training_parts import opened, prepare_data

WRITER = ThreadPoolExecutor(1)


def main() -> None:
    """Print both stalls and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        prepare_data(folder)
        engine = trained_engine(folder)
        synchronous: list[float] = []
        ours: list[float] = []
        copies: Copies = {}
        for number in range(options.rounds):
            synchronous.append(save_and_wait(engine, folder, number))
            ours.append(save_beside(engine, folder, number, copies))
    size = sum(engine.shape(name).numel() for name in engine.parameter_names()) * 12
    table = Table(
        title=f"{size / 1e6:.0f} MB of state, median of {options.rounds} rounds",
        title_justify="left",
    )
    for column in ("way", "stall", "least", "most", "share"):
        table.add_column(column, justify="left" if column == "way" else "right")
    whole = statistics.median(synchronous)
    for way, seconds in (("synchronous", synchronous), ("ours", ours)):
        stall = statistics.median(seconds)
        table.add_row(
            way,
            f"{stall * 1e3:.0f} ms",
            f"{min(seconds) * 1e3:.0f} ms",
            f"{max(seconds) * 1e3:.0f} ms",
            f"{stall / whole:.2f}",
        )
    Console(width=100).print(table)


def trained_engine(folder: Path) -> DeepSpeedEngine:
    """Return the engine after a step, which makes Adam's moments."""
    import_deepspeed(use_gpu=False)
    os.environ["LOCAL_RANK"] = "0"  # DeepSpeed insists on it
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=0, world_size=1
    )
    torch.manual_seed(0)
    materials, model, config = opened(folder, "finetune")
    names = {id(p): name for name, p in model.model.named_parameters()}
    engine = DeepSpeedEngine(model.summed_loss(config), config, 1, names)
    batches = materials.open_batches(model, config, 0, 1).batches()
    ranks = AcrossRanks(torch.device("cpu"))
    train_step(engine, lambda: next(batches), 1e-4, config.micro_batch, ranks)
    return engine


def save_and_wait(engine: DeepSpeedEngine, folder: Path, number: int) -> float:
    """Return the seconds until a checkpoint is in the storage."""
    target = folder / f"synchronous-{number}"
    start = time.perf_counter()
    snapshot = take_snapshot(engine, Progress(number, []))
    write_snapshot(snapshot, target, "recipe", 0, 1)
    shutil.copytree(target, folder / "storage" / target.name)
    return time.perf_counter() - start


def save_beside(engine: DeepSpeedEngine, folder: Path, number: int, copies: Copies) -> float:
    """Return the seconds until the next step may begin; the rest is waited for unseen."""
    start = time.perf_counter()
    snapshot = take_snapshot(engine, Progress(number, []), copies)
    target = folder / f"beside-{number}"
    pending = PendingCheckpoint(WRITER, snapshot, target, "recipe", 0, 1)
    seconds = time.perf_counter() - start
    assert pending.error is None
    copies.update(snapshot.copies)
    return seconds


if __name__ == "__main__":
    main()
