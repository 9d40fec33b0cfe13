"""Kills of what steers a stage's workers, while its job lives on: the task that waits for them, and
Ray Train's controller.

As a program: `python -m tests.training.killed_steering ORDER` with the order of `kills`; it runs
the stage in a task of a Ray cluster of its own and tries it again after each death, as the step
layer does.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from components.core.errors import TrainingInterrupted
from tests.training.kills import Order, Points

TASK_DIES_AT, CONTROLLER_DIES_AT = 4, 8
"""Steps whose points are the last that is told before a death."""


class DeadlyPoints(Points):
    """Writes points in Ray Train's controller, and kills once there and once the task."""

    def __call__(self, metrics: dict[str, float], step: int) -> None:
        super().__call__(metrics, step)
        for at, pid in ((TASK_DIES_AT, self._task_pid()), (CONTROLLER_DIES_AT, os.getpid())):
            mark = self.path.with_name(f"died-{at}")
            if step == at and not mark.exists():
                mark.touch()
                os.kill(pid, signal.SIGKILL)

    def _task_pid(self) -> int:
        return int(self.path.with_name("task_pid").read_text())


class DeadlyOrder(Order):
    """An order whose points kill."""

    @property
    def points(self) -> Points:
        """The curves of all attempts, one behind the other."""
        return DeadlyPoints(self.folder / "points.jsonl")


def run(order: DeadlyOrder) -> None:
    """Run the stage to its end, and say how each attempt before it ended."""
    import ray
    from ray.exceptions import WorkerCrashedError

    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)

    @ray.remote(num_cpus=0, max_retries=0)
    def task() -> Any:
        (order.folder / "task_pid").write_text(str(os.getpid()))
        try:
            order.train()
        except TrainingInterrupted as error:
            return error
        return None

    for _ in range(3):
        try:
            error = ray.get(task.remote())
        except WorkerCrashedError:
            print("task")
            continue
        if error is None:
            return
        print("controller", error)
    raise SystemExit("the stage did not come to its end")


if __name__ == "__main__":
    run(DeadlyOrder.model_validate_json(Path(sys.argv[1]).read_text()))
