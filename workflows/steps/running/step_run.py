"""The life of one step within one chain run: look up, lease, attempt, publish or retry.

In: a node whose inputs are known. Out: its artifact, or a failure. Holds the step's lease from
before the first attempt until the record is published. Runs in the driver; the attempt itself runs
in Ray.
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from components.core.artifact import Artifact
from components.core.errors import ArtifactError, LavaflowError
from components.core.store import Store
from workflows.steps.graph import Node
from workflows.steps.identity.keys import identity_values
from workflows.steps.identity.payloads import write_payload
from workflows.steps.observer import Observer
from workflows.steps.running.executor import Executor
from workflows.steps.running.retries import Backoff, RetryBudget
from workflows.steps.running.task import Done, Failed, Order
from workflows.steps.state import layout
from workflows.steps.state.layout import StepFolder
from workflows.steps.state.leases import Lease, LeaseState, LeaseWatch
from workflows.steps.state.owner import Owner
from workflows.steps.state.pins import pin_for
from workflows.steps.state.records import Hit, Miss, StepRecord, collect_garbage, look_up, publish
from workflows.steps.tracker import GuardedTracker, Status

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunParts:
    """What all steps of one chain run share."""

    store: Store
    executor: Executor
    tracker: GuardedTracker
    observer: Observer
    owner: Owner
    backoff: Backoff
    lease_ttl_s: float
    provenance: Mapping[str, str] = field(default_factory=dict)
    run_ids: dict[str, str] = field(default_factory=dict)
    """Digest of an artifact -> the tracker's run that made it."""


class StepRun:
    """One step of one chain run; `state` is pending, waiting, starting, running, publishing,
    backoff, done or failed."""

    def __init__(self, node: Node, parts: RunParts, forced: bool, results: Mapping[str, Artifact]):
        self.node, self.parts, self.forced = node, parts, forced
        self.state = "pending"
        self.artifact: Artifact | None = None
        self.failure: Failed | None = None
        self.ticket: Any = None
        self.not_before = 0.0
        self.inputs = node.bound_inputs(results)
        self.payload, key = node.identity(results)
        self.folder = StepFolder(node.name, key)
        self._watch = LeaseWatch(parts.store, self.folder, parts.owner, parts.lease_ttl_s)
        self._lease: Lease | None = None
        self._budget = RetryBudget(node.retries)
        self._found: Hit | Miss = Miss("not looked up")
        self._ignored_data: bytes | None = None
        self._outcome: Done | Failed | None = None
        self._attempt = ""
        self._resume_name = ""
        self._started_at = 0.0
        self._began = 0.0

    def look_up(self) -> bool:
        """Take a finished result, our own or a pinned one; returns whether there is one."""
        store, node = self.parts.store, self.node
        self._found = look_up(store, self.folder, node.returns)
        if self.forced:
            # A forced run takes no result that was there before; one made meanwhile is as fresh.
            if self._ignored_data is None:
                self._ignored_data = self._found.data or b""
            if not isinstance(self._found, Hit) or self._found.data == self._ignored_data:
                return False
        if isinstance(self._found, Hit):
            self._take(self._found, "found in the store")
            return True
        if not self.forced:
            pinned = pin_for(store, node.name, self.payload)
            if pinned is not None:
                self._take_pinned(pinned)
                return True
        return False

    def try_start(self) -> None:
        """Take the lease and begin the first attempt; or take the result, or wait for the
        holder.
        """
        # Held already where the store failed between the lease and the first attempt.
        held = self._lease or self._watch.acquire()
        if isinstance(held, LeaseState):
            if self.state != "waiting":
                self.state = "waiting"
                self.parts.observer.on_waiting(self.folder, str(held.owner))
            self.not_before = time.monotonic() + min(1.0, self.parts.lease_ttl_s / 5)
            return
        self._lease = held
        # Somebody may have finished between our look and our lease.
        if self.look_up():
            self.release()
            return
        self.state = "starting"
        write_payload(self.parts.store, self.folder, self.payload)
        self.parts.tracker.start_step(
            self.node.name, self.folder.key, self._params(), self._input_uris()
        )
        self._began = time.monotonic()
        self.begin_attempt()

    def begin_attempt(self) -> None:
        """Hand a new attempt to the executor."""
        parts, name = self.parts, self.node.name
        self._attempt, self._outcome = layout.new_attempt(), None
        self._started_at = time.time()
        found = self._found.record
        self._resume_name = self.folder.resume(found.attempt if found else None).rsplit("/", 1)[-1]
        # An earlier driver may have asked its attempt to stop.
        parts.store.delete(self.folder.stop(self._resume_name))
        order = Order(
            function=self.node.function,
            config=self.node.config,
            inputs=self.inputs,
            returns=self.node.returns,
            store=parts.store,
            step=name,
            key=self.folder.key,
            attempt=self._attempt,
            resume_name=self._resume_name,
            run_id=parts.tracker.step_run_id(name),
            made_by=dict(parts.run_ids),
            sink=parts.executor.sink(),
        )
        self.ticket = parts.executor.submit(order, self.node.num_cpus)
        self.state = "running"
        reason = self._found.reason if isinstance(self._found, Miss) else "forced"
        parts.observer.on_started(self.folder, reason, self._budget.failed_tries + 1)

    def settle(self) -> None:
        """Publish what the finished attempt made, or decide about its failure."""
        if self._outcome is None:
            self._outcome = self.parts.executor.result(self.ticket)
            self.ticket = None
        # Stays "publishing" where the store does not answer: the caller comes back.
        self.state = "publishing"
        if isinstance(self._outcome, Failed):
            self._settle_failure(self._outcome)
        else:
            self._publish(self._outcome)

    def ask_to_stop(self) -> bool:
        """Ask the running attempt to save what it has; returns whether it can."""
        if self.ticket is None or not self.node.stop_grace_s:
            return False
        try:
            self.parts.store.write_bytes(self.folder.stop(self._resume_name), b"stop\n")
        except LavaflowError as error:
            log.warning("step %s could not be asked to stop: %s", self.node.name, error)
            return False
        return True

    def check_lease(self) -> None:
        """Raise LeaseLost when another driver took over."""
        if self._lease is not None and self._lease.lost:
            self._lease.confirm()

    def abandon(self, status: Status) -> None:
        """Clean up after an attempt that was cancelled: files, tracker, lease."""
        if self.state in ("starting", "running", "publishing", "backoff"):
            self.parts.tracker.finish_step(self.node.name, status, {})
            self.parts.observer.on_interrupted(self.node.name)
            if self._lease is not None and not self._lease.lost:
                self._delete_attempt()
        self.state = "failed"
        self.release()

    def release(self) -> None:
        """Give the lease back, if held."""
        if self._lease is not None:
            self._lease.release()
            self._lease = None

    @property
    def elapsed_s(self) -> float:
        """Seconds since the first attempt began."""
        return time.monotonic() - self._began

    @property
    def failure_path(self) -> str:
        """Where the traceback of the last failed attempt is kept."""
        return self.folder.failure(self._attempt)

    def _take(self, hit: Hit, reason: str) -> None:
        self.artifact, self.state = hit.artifact, "done"
        self.parts.run_ids[hit.artifact.digest] = hit.record.tracker_run
        self.parts.tracker.cached_step(self.node.name, hit.record.key, hit.record.tracker_run)
        folder = StepFolder(self.node.name, hit.record.key)
        self.parts.observer.on_hit(folder, reason, hit.record.seconds)

    def _take_pinned(self, key: str) -> None:
        kept = look_up(self.parts.store, StepFolder(self.node.name, key), self.node.returns)
        if isinstance(kept, Miss):
            raise ArtifactError(
                f"step {self.node.name} is pinned to {key}, but {kept.reason}; restore its files "
                "or remove the pin"
            )
        self._take(kept, f"pinned to {key}")

    def _publish(self, outcome: Done) -> None:
        parts, name = self.parts, self.node.name
        assert self._lease is not None
        self._lease.confirm()
        run_id = parts.tracker.step_run_id(name)
        record = StepRecord(
            step=name,
            key=self.folder.key,
            attempt=self._attempt,
            artifact_kind=type(outcome.artifact).__name__,
            artifact=outcome.artifact.model_dump(mode="json", exclude={"uri", "digest"}),
            digest=outcome.digest,
            made_by={
                "owner": parts.owner.to_json(),
                "tracker_run": run_id,
                "worker_host": outcome.host,
                **parts.provenance,
            },
            started_at=self._started_at,
            seconds=round(outcome.seconds, 3),
            inputs=_lineage(self.inputs),
        )
        replaced = self._found if self._found.data is not None else None
        publish(parts.store, self.folder, record, replaced)
        uri = parts.store.uri(self.folder.files(self._attempt))
        self.artifact = outcome.artifact.model_copy(update={"uri": uri, "digest": outcome.digest})
        self.state = "done"
        parts.run_ids[outcome.digest] = run_id
        try:
            collect_garbage(parts.store, self.folder, self._attempt)
        except LavaflowError as error:
            log.warning("left-overs of step %s could not be deleted: %s", name, error)
        self.release()
        parts.tracker.finish_step(name, "ok", {"uri": uri, "digest": outcome.digest})
        parts.observer.on_finished(self.folder, self.elapsed_s, uri)

    def _settle_failure(self, failure: Failed) -> None:
        self.check_lease()
        self._keep_traceback(failure)
        self._delete_attempt()
        error = str(failure.to_error())
        if self._budget.accepts(failure):
            delay_s = self.parts.backoff.delay_s(self._budget.failed_tries)
            self.not_before = time.monotonic() + delay_s
            self.state = "backoff"
            why = "preempted" if failure.preempted else f"retry {self._budget.used}"
            self.parts.observer.on_retry(self.folder, error, delay_s, why)
            return
        self.failure, self.state = failure, "failed"
        self.release()
        self.parts.tracker.finish_step(self.node.name, "failed", {})
        self.parts.observer.on_failed(self.folder, error, self.elapsed_s)

    def _keep_traceback(self, failure: Failed) -> None:
        text = f"{failure.kind}: {failure.message}\n\n{failure.traceback}"
        try:
            self.parts.store.write_bytes(self.failure_path, text.encode())
        except LavaflowError as error:
            log.warning("the failure of step %s could not be noted: %s", self.node.name, error)

    def _delete_attempt(self) -> None:
        if not self._attempt:
            return
        try:
            self.parts.store.delete(f"{self.folder.path}/{self._attempt}", recursive=True)
        except LavaflowError as error:
            log.warning("the attempt's files could not be deleted: %s", error)

    def _params(self) -> dict[str, Any]:
        config = self.node.config
        return identity_values(config) if config is not None else {}

    def _input_uris(self) -> dict[str, str]:
        uris = {}
        for name, value in self.inputs.items():
            if isinstance(value, Artifact):
                uris[name] = value.uri
            else:
                uris.update({f"{name}.{index}": one.uri for index, one in enumerate(value)})
        return uris


def _lineage(inputs: Mapping[str, Any]) -> dict[str, Any]:
    def one(artifact: Artifact) -> dict[str, str]:
        return {"uri": artifact.uri, "digest": artifact.digest}

    return {
        name: one(value) if isinstance(value, Artifact) else [one(member) for member in value]
        for name, value in inputs.items()
    }
