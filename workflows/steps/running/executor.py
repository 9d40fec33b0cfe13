"""Where the attempts of steps run: Ray tasks.

In: orders, and the processors that each reserves. Out: finished attempts and the messages they
sent. Ray is imported and the cluster started only when the first order comes: a replay in which
every step is a hit needs neither.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from workflows.steps.running.messages import ActorSink, Mailbox, Sink
from workflows.steps.running.signals import kept_handlers
from workflows.steps.running.task import Done, Failed, Order, run_order

log = logging.getLogger(__name__)

# A cancelled task may finish what it is at for so long; then its process is ended.
CANCEL_GRACE_S = 5.0


class Executor(Protocol):
    """Runs orders somewhere."""

    def sink(self) -> Sink:
        """Return what steps send their messages to."""

    def submit(self, order: Order, num_cpus: float) -> Any:
        """Start an attempt and return its ticket."""

    def wait(self, tickets: Sequence[Any], timeout_s: float) -> list[Any]:
        """Return the finished ones among the tickets, after `timeout_s` at the latest."""

    def result(self, ticket: Any) -> Done | Failed:
        """Return what came of a finished attempt."""

    def cancel(self, tickets: Sequence[Any]) -> None:
        """Stop attempts; when it returns they run no more."""

    def drain(self, final: bool = False) -> list[dict[str, Any]]:
        """Return messages that have arrived; with `final` wait for all that were sent before."""


class RayExecutor:
    """Runs each order as one Ray task."""

    def __init__(self, ensure_cluster: Callable[[], None]) -> None:
        """`ensure_cluster` connects to Ray, or starts it; it is called once, at the first need."""
        self._ensure_cluster = ensure_cluster
        self._mailbox: Any = None
        self._draining: Any = None
        self._connected = False
        self._mailbox_lost = False

    def sink(self) -> Sink:
        """Return a sink to this chain's mailbox actor, starting it at the first call."""
        self._connect()
        return ActorSink(self._mailbox)

    def submit(self, order: Order, num_cpus: float) -> Any:
        """Start the task; Ray itself retries nothing, the step layer decides about that."""
        import ray

        self._connect()
        _warn_if_too_large(order.step, num_cpus, ray.cluster_resources().get("CPU", 0.0))
        task = ray.remote(_run_in_worker).options(
            name=order.step, max_retries=0, retry_exceptions=False, num_cpus=num_cpus
        )
        return task.remote(order)

    def wait(self, tickets: Sequence[Any], timeout_s: float) -> list[Any]:
        """Return the finished tickets."""
        import ray

        ready, _ = ray.wait(list(tickets), num_returns=1, timeout=timeout_s, fetch_local=False)
        return list(ready)

    def result(self, ticket: Any) -> Done | Failed:
        """Return the attempt's outcome; the death of its worker or node becomes a Failed."""
        import ray

        try:
            outcome: Done | Failed = ray.get(ticket)
        except ray.exceptions.RayError as error:
            return _failure_of_ray(error)
        return outcome

    def cancel(self, tickets: Sequence[Any]) -> None:
        """Interrupt the tasks, then end their processes where they do not stop."""
        import ray

        left = list(tickets)
        for force, grace_s in ((False, CANCEL_GRACE_S), (True, CANCEL_GRACE_S)):
            for ticket in left:
                try:
                    ray.cancel(ticket, force=force, recursive=True)
                except (ray.exceptions.RayError, ValueError) as error:
                    log.debug("cancel: %s", error)
            if left:
                _, left = ray.wait(left, num_returns=len(left), timeout=grace_s)

    def drain(self, final: bool = False) -> list[dict[str, Any]]:
        """Return arrived messages; one request is always under way, so a call never waits."""
        if self._mailbox is None:
            return []
        import ray

        messages: list[dict[str, Any]] = []
        try:
            if self._draining is not None:
                if not final and not ray.wait([self._draining], timeout=0)[0]:
                    return []
                messages += ray.get(self._draining, timeout=10)
            self._draining = None if final else self._mailbox.drain.remote()
            if final:
                messages += ray.get(self._mailbox.drain.remote(), timeout=10)
        except ray.exceptions.RayError as error:
            self._draining = None
            if not self._mailbox_lost:
                self._mailbox_lost = True
                log.warning("live metrics may be missing: %s", error)
        return messages

    def _connect(self) -> None:
        if self._connected:
            return
        with kept_handlers():
            self._ensure_cluster()
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = ray.get_runtime_context().get_node_id()
        # Beside the driver: it then lives as long as the driver's own machine does.
        strategy = NodeAffinitySchedulingStrategy(node_id=here, soft=True)
        options = {"num_cpus": 0, "max_restarts": -1, "scheduling_strategy": strategy}
        self._mailbox = ray.remote(Mailbox).options(**options).remote()
        self._connected = True


def _run_in_worker(order: Order) -> Done | Failed:
    """Carry out an order inside a Ray worker, with log lines as plain text."""
    from components.core.logs import setup_logging

    setup_logging()
    return run_order(order)


def _failure_of_ray(error: Exception) -> Failed:
    """Return the failure that an error of Ray itself stands for.

    A node that dies or is taken away counts as a preemption: nobody's fault, no retry used up.
    """
    import ray.exceptions as kinds

    preempted = isinstance(error, kinds.NodeDiedError) or bool(getattr(error, "preempted", False))
    lost = (
        kinds.WorkerCrashedError,
        kinds.RayActorError,
        kinds.ObjectLostError,
        kinds.OutOfMemoryError,
        kinds.LocalRayletDiedError,
    )
    return Failed(
        kind=type(error).__name__,
        message=str(error).strip(),
        traceback="",
        retryable=preempted or isinstance(error, lost),
        seconds=0.0,
        preempted=preempted,
    )


def _warn_if_too_large(step: str, num_cpus: float, present: float) -> None:
    if num_cpus > present:
        log.warning(
            "step %s asks for %g CPU, the cluster has %g; it waits until a larger node joins",
            step,
            num_cpus,
            present,
        )
