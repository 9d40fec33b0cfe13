"""What the step layer tells an experiment tracker, and a guard that keeps its trouble out of the
run.

In: events of a chain. Out: calls of a Tracker (MLflow's lives in `components.registry`). The store
is the truth and the tracker an index: a tracker that fails later than its first call costs a
warning, never a training run.
"""

import logging
from collections.abc import Callable
from typing import Any, Literal, Protocol

log = logging.getLogger(__name__)

Status = Literal["ok", "failed", "interrupted"]


class Tracker(Protocol):
    """One pipeline run with a nested run per step."""

    def start_run(self, name: str, params: dict[str, Any], tags: dict[str, str]) -> str:
        """Open the parent run and return its id."""

    def start_step(
        self, step: str, key: str, params: dict[str, Any], inputs: dict[str, str]
    ) -> None:
        """Open the nested run of a step; the same key resumed continues the same nested run."""

    def log_metrics(self, step: str, metrics: dict[str, float], at: int | None) -> None:
        """Add numbers to a step's run; `at` is the training step."""

    def log_artifact(self, step: str, path: str, name: str) -> None:
        """Attach a small local file to a step's run."""

    def finish_step(self, step: str, status: Status, outputs: dict[str, str]) -> None:
        """Close a step's run as `ok`, `failed` or `interrupted`."""

    def cached_step(self, step: str, key: str, made_by: str) -> None:
        """Note a step that was a hit, and the run that made its result."""

    def finish_run(self, status: Status) -> None:
        """Close the parent run as `ok`, `failed` or `interrupted`."""

    def step_run_id(self, step: str) -> str:
        """Return the id of a step's nested run, or empty."""


class NullTracker:
    """Tracks nothing."""

    def start_run(self, name: str, params: dict[str, Any], tags: dict[str, str]) -> str:
        """Return no id."""
        return ""

    def start_step(
        self, step: str, key: str, params: dict[str, Any], inputs: dict[str, str]
    ) -> None:
        """Do nothing."""

    def log_metrics(self, step: str, metrics: dict[str, float], at: int | None) -> None:
        """Do nothing."""

    def log_artifact(self, step: str, path: str, name: str) -> None:
        """Do nothing."""

    def finish_step(self, step: str, status: Status, outputs: dict[str, str]) -> None:
        """Do nothing."""

    def cached_step(self, step: str, key: str, made_by: str) -> None:
        """Do nothing."""

    def finish_run(self, status: Status) -> None:
        """Do nothing."""

    def step_run_id(self, step: str) -> str:
        """Return no id."""
        return ""


class GuardedTracker:
    """Passes calls on; the first failure of each kind is a warning, and the run goes on.

    `start_run` alone may fail the chain: a wrong tracker address shows before any work is done.
    """

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self._warned: set[str] = set()

    def start_run(self, name: str, params: dict[str, Any], tags: dict[str, str]) -> str:
        """Open the parent run; errors pass."""
        return self._tracker.start_run(name, params, tags)

    def start_step(
        self, step: str, key: str, params: dict[str, Any], inputs: dict[str, str]
    ) -> None:
        """Open a nested run."""
        self._guarded("start_step", self._tracker.start_step, step, key, params, inputs)

    def log_metrics(self, step: str, metrics: dict[str, float], at: int | None) -> None:
        """Add numbers."""
        self._guarded("log_metrics", self._tracker.log_metrics, step, metrics, at)

    def log_artifact(self, step: str, path: str, name: str) -> None:
        """Attach a file."""
        self._guarded("log_artifact", self._tracker.log_artifact, step, path, name)

    def finish_step(self, step: str, status: Status, outputs: dict[str, str]) -> None:
        """Close a nested run."""
        self._guarded("finish_step", self._tracker.finish_step, step, status, outputs)

    def cached_step(self, step: str, key: str, made_by: str) -> None:
        """Note a hit."""
        self._guarded("cached_step", self._tracker.cached_step, step, key, made_by)

    def finish_run(self, status: Status) -> None:
        """Close the parent run."""
        self._guarded("finish_run", self._tracker.finish_run, status)

    def step_run_id(self, step: str) -> str:
        """Return the id of a step's nested run, or empty."""
        return str(self._guarded("step_run_id", self._tracker.step_run_id, step) or "")

    def _guarded(self, name: str, call: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except Exception as error:  # noqa: BLE001 - whatever a tracking server does, the run goes on
            if name not in self._warned:
                self._warned.add(name)
                log.warning(
                    "the tracker failed in %s (%s: %s); the run goes on without it",
                    name,
                    type(error).__name__,
                    error,
                )
            return None
