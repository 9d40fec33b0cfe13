"""Kills with -9 at chosen moments of a stage: of workers, of the driver, of both at once.

As a program it runs a stage on a Ray cluster of its own, which dies with it:
`python -m tests.training.kills ORDER`, where ORDER is a JSON file (see `Order`).
"""

import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from components.training.config import BasePaths, StageConfig
from components.training.materials import BatchSource, Materials, OpenedModel


class Kill(BaseModel):
    """Who dies, once, so long after a rank asked for its batch of a step."""

    step: int
    rank: int
    delay_s: float
    worker: bool
    driver: bool

    def carry_out(self, driver_pid: int) -> None:
        """End the driver first: nobody is left to tell it of the worker."""
        if self.driver:
            with contextlib.suppress(ProcessLookupError):  # another kill was there before
                os.kill(driver_pid, signal.SIGKILL)
        if self.worker:
            os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class KilledMaterials(Materials):
    """Materials with kills; `marks_path` is a folder that remembers those that were carried out."""

    kills: tuple[Kill, ...] = ()
    marks_path: str = ""
    driver_pid: int = 0

    def open_batches(
        self, opened: OpenedModel, config: StageConfig, rank: int, world_size: int
    ) -> BatchSource:
        source = super().open_batches(opened, config, rank, world_size)
        return _Killing(source, self, rank)

    def due(self, step: int, rank: int) -> Iterator[Kill]:
        """Yield the kills of a step that are still to come, and mark them."""
        for number, kill in enumerate(self.kills):
            mark = Path(self.marks_path, f"kill-{number}")
            if (kill.step, kill.rank) == (step, rank) and not mark.exists():
                mark.touch()
                yield kill


class _Killing:
    def __init__(self, source: BatchSource, materials: KilledMaterials, rank: int):
        self.num_steps = source.num_steps
        self._source, self._materials, self._rank = source, materials, rank

    def batches(self, start_step: int = 0) -> Iterator[Any]:
        for step, batch in enumerate(self._source.batches(start_step), start_step):
            for kill in self._materials.due(step, self._rank):
                arguments = (self._materials.driver_pid,)
                threading.Timer(kill.delay_s, kill.carry_out, arguments).start()
            yield batch


class Points:
    """Writes each point to a file: it is called in Ray Train's controller, not here."""

    def __init__(self, path: Path):
        self.path = path

    def __call__(self, metrics: dict[str, float], step: int) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step, **metrics}) + "\n")

    def read(self) -> list[dict[str, float]]:
        return [json.loads(line) for line in self.path.read_text().splitlines()]


class Order(BaseModel):
    """A stage to run below `folder`, and who dies on the way."""

    folder: Path
    config: StageConfig
    base: BasePaths
    data: Path
    kills: tuple[Kill, ...] = ()

    @property
    def points(self) -> Points:
        """The curves of all attempts, one behind the other."""
        return Points(self.folder / "points.jsonl")

    @property
    def weights(self) -> bytes:
        """The finished model's file of weights."""
        return (self.folder / "model" / "model.safetensors").read_bytes()

    def train(self) -> None:
        """Run the stage on the cluster that is connected, or go on with it."""
        from components.training.trainer import train_stage

        train_stage(
            self.config,
            self.data,
            self.base,
            self.folder / "model",
            "run",
            str(self.folder / "storage"),
            self.points,
        )


def run(order: Order) -> None:
    """Run the stage to its end, or as far as it gets."""
    import ray

    from components.training import trainer

    marks = order.folder / "marks"
    marks.mkdir(parents=True, exist_ok=True)
    told = {"kills": order.kills, "marks_path": str(marks), "driver_pid": os.getpid()}
    trainer.Materials = lambda *paths: KilledMaterials(*paths, **told)  # type: ignore[assignment,misc] # plays the product's class
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    order.train()


if __name__ == "__main__":
    run(Order.model_validate_json(Path(sys.argv[1]).read_text()))
