"""Messages from a running step to its driver, from whatever machine the step runs on.

In: small dictionaries sent by `StepContext`. Out: the same, in order, when the driver drains them.
One actor per chain holds them meanwhile; it reserves no processor and dies with the driver. Sending
never waits, and losing a message never fails a step: the store is the truth, the tracker an index.
"""

import logging
from typing import Any, Protocol

log = logging.getLogger(__name__)

# A driver that stopped draining must not fill the actor's memory.
MAX_HELD = 100_000


class Sink(Protocol):
    """Something that takes messages; picklable."""

    def send(self, message: dict[str, Any]) -> None:
        """Take one message without waiting."""

    def flush(self) -> None:
        """Return when everything sent before from this process has arrived."""


class Discard:
    """Takes messages to nowhere (functions called outside a chain)."""

    def send(self, message: dict[str, Any]) -> None:
        """Forget the message."""

    def flush(self) -> None:
        """Return at once."""


class Mailbox:
    """The actor: a list with an end to put in and an end to take out."""

    def __init__(self) -> None:
        self._held: list[dict[str, Any]] = []
        self._dropped = 0

    def put(self, message: dict[str, Any]) -> None:
        """Keep a message; the oldest goes when too many wait."""
        self._held.append(message)
        if len(self._held) > MAX_HELD:
            del self._held[0]
            self._dropped += 1

    def drain(self) -> list[dict[str, Any]]:
        """Return all held messages in order of arrival, and forget them."""
        held, self._held = self._held, []
        return held

    def ready(self) -> bool:
        """Answer, once everything put before by the caller is in."""
        return True


class ActorSink:
    """Sends to a Mailbox actor from any Ray task or actor."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def send(self, message: dict[str, Any]) -> None:
        """Send without waiting for the arrival."""
        self._actor.put.remote(message)

    def flush(self) -> None:
        """Wait until this process's messages have arrived; gives up after some seconds."""
        import ray

        try:
            ray.get(self._actor.ready.remote(), timeout=10)
        except ray.exceptions.RayError as error:
            log.warning("metrics sent last may be missing: %s", error)
