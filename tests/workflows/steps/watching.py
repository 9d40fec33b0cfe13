"""How the tests of chains watch one: its plan in short, and what its tracker was told."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from workflows.steps import Chain

MakeChain = Callable[..., Chain]

"""The fixture `make_chain`."""


class RecordingTracker:
    """Keeps the calls that a tracker gets."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def start_run(self, name: str, params: dict, tags: dict) -> str:
        self.calls.append(("start_run", name, params, tags))
        return "parent"

    def start_step(self, step: str, key: str, params: dict, inputs: dict) -> None:
        self.calls.append(("start_step", step, params, inputs))

    def log_metrics(self, step: str, metrics: dict, at: int | None) -> None:
        self.calls.append(("log_metrics", step, metrics, at))

    def log_artifact(self, step: str, path: str, name: str) -> None:
        self.calls.append(("log_artifact", step, Path(path).read_text(), name))

    def finish_step(self, step: str, status: str, outputs: dict) -> None:
        self.calls.append(("finish_step", step, status))

    def cached_step(self, step: str, key: str, made_by: str) -> None:
        self.calls.append(("cached_step", step, made_by))

    def finish_run(self, status: str) -> None:
        self.calls.append(("finish_run", status))

    def step_run_id(self, step: str) -> str:
        return f"run-of-{step}"


def actions(chain: Chain, **options: Any) -> dict[str, str]:
    return {step.name: step.action for step in chain.plan(**options)}
