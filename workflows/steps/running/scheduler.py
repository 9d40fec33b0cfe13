"""The loop of one chain run: starts what can start, settles what has ended, until nothing is left.

In: the nodes, a selection and the shared parts. Out: the artifacts, or StepFailed, LeaseLost or
KeyboardInterrupt after everything was cleaned up. Independent steps run side by side. After a
failure nothing new starts, but what runs already is finished, so that its result is not lost.
"""

import logging
import time
from collections.abc import Mapping
from typing import Any

from components.core.artifact import Artifact
from components.core.errors import ConfigError, StepFailed, StoreUnavailable
from components.core.logs import format_duration
from workflows.steps.graph import Node, Selection
from workflows.steps.running.step_run import RunParts, StepRun
from workflows.steps.tracker import Status

log = logging.getLogger(__name__)

# How long the loop waits for a running step before it looks after metrics and leases again.
TICK_S = 0.25

# A store that does not answer is asked again so often, for so long, while work would be lost.
RETRY_STORE_S = 10.0
PATIENCE_S = 600.0


class ChainRun:
    """One run of a chain."""

    def __init__(
        self,
        nodes: Mapping[str, Node],
        selection: Selection,
        parts: RunParts,
        resume_command: str,
    ) -> None:
        self._nodes, self._selection, self._parts = nodes, selection, parts
        self._resume_command = resume_command
        self._runs: dict[str, StepRun] = {}
        self._trouble_since: float | None = None
        self.results: dict[str, Artifact] = {}

    def run(self) -> dict[str, Artifact]:
        """Run until every wanted step has its artifact; see the module's text for the errors."""
        try:
            while self._open_steps():
                self._tick()
            self._deliver(final=True)
        except BaseException as error:
            self._stop(error)
            raise
        failed = [run for run in self._runs.values() if run.failure is not None]
        if failed:
            raise self._step_failed(failed)
        return dict(self.results)

    def _open_steps(self) -> list[str]:
        """Names of steps that still have to be looked after."""
        if self._has_failed():
            busy = ("running", "publishing")
            return [name for name, run in self._runs.items() if run.state in busy]
        return [
            name
            for name in self._nodes
            if name in self._selection.wanted and name not in self.results
        ]

    def _tick(self) -> None:
        progressed = False
        for name in self._open_steps():
            progressed |= self._advance(self._nodes[name])
        running = {
            run.ticket: run for run in self._runs.values() if run.state == "running" and run.ticket
        }
        if running:
            finished = self._parts.executor.wait(list(running), 0.0 if progressed else TICK_S)
            self._deliver(final=bool(finished))
            for ticket in finished:
                running[ticket].state = "publishing"
                progressed |= self._advance(running[ticket].node)
        elif not progressed:
            time.sleep(TICK_S)
        for run in self._runs.values():
            run.check_lease()
        if self._has_failed():
            self._drop_waiting()

    def _advance(self, node: Node) -> bool:
        """Bring a step one hop further; returns whether something happened.

        A store that does not answer for a while must not cost the work of running steps.
        """
        try:
            return self._advance_now(node)
        except StoreUnavailable as error:
            now = time.monotonic()
            self._trouble_since = self._trouble_since or now
            if not self._has_work() or now - self._trouble_since > PATIENCE_S:
                raise
            log.warning("step %s waits for the store: %s", node.name, error)
            if node.name in self._runs:
                self._runs[node.name].not_before = now + RETRY_STORE_S
            return False

    def _advance_now(self, node: Node) -> bool:
        run = self._runs.get(node.name)
        if run is None:
            if any(parent not in self.results for parent in node.parents):
                return False
            forced = node.name in self._selection.forced
            run = StepRun(node, self._parts, forced, self.results)
            self._runs[node.name] = run
        if run.state == "running" or time.monotonic() < run.not_before:
            return False
        if run.state == "publishing":
            run.settle()
        elif run.state == "backoff":
            run.begin_attempt()
        elif not run.look_up():
            if node.name not in self._selection.may_run:
                raise ConfigError(
                    f"step {node.name} has no result yet and is not selected; run without "
                    f"--only, or add {node.name} to it"
                )
            run.try_start()
        return self._note(run)

    def _has_work(self) -> bool:
        """Return whether something was begun that would be lost."""
        return any(run.state in ("running", "publishing") for run in self._runs.values())

    def _note(self, run: StepRun) -> bool:
        self._trouble_since = None
        if run.artifact is not None:
            self.results[run.node.name] = run.artifact
        return run.state in ("done", "running", "failed")

    def _has_failed(self) -> bool:
        return any(run.failure is not None for run in self._runs.values())

    def _drop_waiting(self) -> None:
        """Let go of steps that would have been retried: the chain is going to fail anyway."""
        for run in self._runs.values():
            if run.state == "backoff":
                run.abandon("failed")

    def _deliver(self, final: bool = False) -> None:
        for message in self._parts.executor.drain(final):
            self._deliver_one(message)

    def _deliver_one(self, message: Mapping[str, Any]) -> None:
        tracker, step = self._parts.tracker, str(message["step"])
        if message["kind"] == "metrics":
            tracker.log_metrics(step, message["metrics"], message["at"])
            self._parts.observer.on_metrics(step, message["metrics"], message["at"])
        elif message["kind"] == "progress":
            self._parts.observer.on_progress(step, message["done"], message["total"])
        elif message["kind"] == "note":
            self._parts.observer.on_note(step, message["text"])
        elif message["kind"] == "artifact":
            path = self._parts.store.local_copy(message["path"])
            tracker.log_artifact(step, str(path), message["name"])

    def _stop(self, error: BaseException) -> None:
        """Cancel what runs and give the leases back. A second Ctrl-C in here ends it at once."""
        interrupted = isinstance(error, KeyboardInterrupt | SystemExit)
        status: Status = "interrupted" if interrupted else "failed"
        runs = [run for run in self._runs.values() if run.state not in ("done", "failed")]
        if interrupted:
            self._let_save([run for run in runs if run.ask_to_stop()])
        tickets = [run.ticket for run in runs if run.ticket is not None]
        if tickets:
            self._parts.executor.cancel(tickets)
        for run in runs:
            run.abandon(status)

    def _let_save(self, runs: list[StepRun]) -> None:
        """Wait until steps that were asked to stop have ended, for as long as they may take."""
        end = time.monotonic() + max((run.node.stop_grace_s for run in runs), default=0.0)
        left = {run.ticket: run for run in runs}
        for run in runs:
            self._parts.observer.on_note(run.node.name, "saves what it has, then stops")
        while left and time.monotonic() < end:
            for ticket in self._parts.executor.wait(list(left), 0.5):
                del left[ticket]
            self._deliver()

    def _step_failed(self, failed: list[StepRun]) -> StepFailed:
        lines = []
        for run in failed:
            assert run.failure is not None
            error = run.failure.to_error()
            kind = "" if type(error).__name__ == "LavaflowError" else f"{type(error).__name__}: "
            lines.append(
                f"step {run.node.name} failed after {format_duration(run.elapsed_s)}: {kind}{error}"
            )
            if run.failure.traceback:
                lines.append(f"details: {self._parts.store.uri(run.failure_path)}")
        lines.append("finished steps are kept; once the cause is mended, resume with:")
        lines.append(self._resume_command)
        raised = StepFailed("\n".join(lines))
        assert failed[0].failure is not None
        raised.__cause__ = failed[0].failure.to_error()
        return raised
