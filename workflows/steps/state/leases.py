"""Leases: at most one driver works on a step's key, without a lock server.

In: a store, a step's folder and the driver. Out: a held Lease whose heartbeat runs in a thread, or
who holds it. Needs only put-if-absent, list and write, so a folder and S3 behave alike:

* leases are numbered files; the highest number counts. Taking over number n means creating n + 1,
  which exactly one driver can do.
* the holder rewrites its own file every few seconds (the beat). Others judge by *their own* clock
  whether the beat still changes, so clocks need not agree.
* a holder on the same machine whose process is gone is taken over at once.
* the holder looks for a higher number at each beat; finding one means that the lease is lost, which
  is fatal to the loser: it must stop and publish nothing.
* releasing marks the file as released. The highest number is never deleted, so numbers never
repeat.
"""

import logging
import threading
import time
from dataclasses import dataclass, replace
from typing import Any

from components.core.errors import LavaflowError, LeaseLost
from components.core.store import Store, encode_json
from workflows.steps.state.layout import StepFolder
from workflows.steps.state.owner import Owner

log = logging.getLogger(__name__)

LEASE_SCHEMA = 1

# A driver that did not beat for this long is taken for dead by drivers on other machines.
TTL_S = 15.0
BEATS_PER_TTL = 5


@dataclass(frozen=True)
class LeaseState:
    """One lease file as read."""

    number: int
    owner: Owner
    beat: int
    beaten_at: float
    """Unix time of the last beat, by the holder's clock; for display, never for judging."""
    acquired_at: float
    released: bool = False
    schema: int = LEASE_SCHEMA


class Lease:
    """A held lease; `lost` tells that another driver took it over."""

    def __init__(self, store: Store, folder: StepFolder, state: LeaseState, ttl_s: float) -> None:
        self._store, self._folder, self._state, self._ttl_s = store, folder, state, ttl_s
        self._stop = threading.Event()
        self._lost_reason = ""
        self._beating = threading.Lock()
        self._thread = threading.Thread(
            target=self._keep_beating, name=f"lease-{folder.step}", daemon=True
        )

    @property
    def lost(self) -> bool:
        """True once this driver must stop working on the step."""
        return bool(self._lost_reason)

    def start(self) -> None:
        """Begin the heartbeat."""
        self._thread.start()

    def confirm(self) -> None:
        """Beat now; raises LeaseLost unless this driver still holds the lease."""
        self._beat()
        if self._lost_reason:
            raise LeaseLost(
                f"step {self._folder.step} ({self._folder.key}): {self._lost_reason}; this driver "
                "stops and publishes nothing, the other one goes on"
            )

    def release(self) -> None:
        """Stop the heartbeat, then give the lease back; does nothing more when it was lost."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._lost_reason:
            return
        try:
            _write(self._store, self._folder, replace(self._state, released=True))
        except LavaflowError as error:
            # The others find out by themselves: our process ends, or the beats stop.
            log.warning("lease of %s could not be released: %s", self._folder.step, error)

    def _keep_beating(self) -> None:
        while not self._stop.wait(self._ttl_s / BEATS_PER_TTL):
            try:
                self._beat()
            except LavaflowError as error:
                # No loss yet: the next beat that gets through sees whether somebody took over.
                log.warning("lease of %s: heartbeat failed: %s", self._folder.step, error)
            if self._lost_reason:
                return

    def _beat(self) -> None:
        with self._beating:
            if self._lost_reason:
                return
            numbers = _numbers(self._store, self._folder)
            if not numbers or numbers[-1] != self._state.number:
                holder = read_lease(self._store, self._folder)
                by = f" by {holder.owner}" if holder is not None else ""
                self._lost_reason = f"its lease was taken over{by}"
                return
            state = replace(self._state, beat=self._state.beat + 1, beaten_at=time.time())
            _write(self._store, self._folder, state)
            self._state = state


class LeaseWatch:
    """Tries to get one lease, remembering since when the present holder's beat has not changed."""

    def __init__(
        self, store: Store, folder: StepFolder, owner: Owner, ttl_s: float = TTL_S
    ) -> None:
        self._store, self._folder, self._owner, self._ttl_s = store, folder, owner, ttl_s
        self._seen: tuple[int, int] | None = None
        self._seen_at = 0.0

    def acquire(self) -> Lease | LeaseState:
        """Return the held lease with its heartbeat running, or the state of the one in the way."""
        current = read_lease(self._store, self._folder)
        if current is not None and not self._is_free(current):
            return current
        now = time.time()
        number = (current.number if current is not None else 0) + 1
        mine = LeaseState(number, self._owner, beat=0, beaten_at=now, acquired_at=now)
        data = encode_json(_plain(mine))
        path = _path(self._folder, number)
        if not self._store.put_if_absent(path, data) and self._store.read_bytes(path) != data:
            return read_lease(self._store, self._folder) or mine
        numbers = _numbers(self._store, self._folder)
        if numbers and numbers[-1] > number:
            # Two others came and went since we looked, and our number was free again: not ours.
            self._store.delete(path)
            return read_lease(self._store, self._folder) or mine
        for old in numbers:
            if old < number:
                self._store.delete(_path(self._folder, old))
        lease = Lease(self._store, self._folder, mine, self._ttl_s)
        lease.start()
        return lease

    def _is_free(self, state: LeaseState) -> bool:
        if state.released or state.owner.is_dead():
            return True
        sight = (state.number, state.beat)
        if sight != self._seen:
            self._seen, self._seen_at = sight, time.monotonic()
            return False
        return time.monotonic() - self._seen_at > self._ttl_s


def read_lease(store: Store, folder: StepFolder) -> LeaseState | None:
    """Return the lease that counts, or None when nobody ever held one."""
    for _ in range(3):
        numbers = _numbers(store, folder)
        if not numbers:
            return None
        try:
            value = store.read_json(_path(folder, numbers[-1]))
            return LeaseState(**{**value, "owner": Owner(**value["owner"])})
        except FileNotFoundError:
            # Its successor was created and it was deleted between our two requests: look again.
            continue
        except (TypeError, KeyError, LavaflowError) as error:
            log.warning("lease of %s/%s cannot be read: %s", folder.step, folder.key, error)
            return _unreadable(numbers[-1])
    return None


def _unreadable(number: int) -> LeaseState:
    """Stand in for a damaged lease: nobody beats it, so it is taken over after a TTL."""
    nobody = Owner("unknown", "unknown", 0, "", "unknown", "", "")
    return LeaseState(number, nobody, beat=-1, beaten_at=0.0, acquired_at=0.0)


def looks_held(state: LeaseState | None) -> bool:
    """Return whether a lease seems to be held now (for `plan`, which cannot wait and watch)."""
    if state is None or state.released or state.owner.is_dead():
        return False
    # Generous about clocks that differ: a plan that says "wait" too long does no harm.
    return time.time() - state.beaten_at < 4 * TTL_S


def _numbers(store: Store, folder: StepFolder) -> list[int]:
    names = store.list(folder.leases)
    return sorted(
        int(name[:-5]) for name in names if name.endswith(".json") and name[:-5].isdigit()
    )


def _path(folder: StepFolder, number: int) -> str:
    return f"{folder.leases}/{number:08d}.json"


def _write(store: Store, folder: StepFolder, state: LeaseState) -> None:
    store.write_bytes(_path(folder, state.number), encode_json(_plain(state)))


def _plain(state: LeaseState) -> dict[str, Any]:
    return {**vars(state), "owner": state.owner.to_json()}
