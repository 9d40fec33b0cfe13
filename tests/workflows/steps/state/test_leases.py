"""Leases: one holder, seen deaths, observed silence, and no way back for the loser."""

import threading
import time
from pathlib import Path

import pytest

from components.core.errors import LeaseLost
from components.core.store import Store
from workflows.steps.state.layout import StepFolder
from workflows.steps.state.leases import Lease, LeaseState, LeaseWatch, looks_held, read_lease
from workflows.steps.state.owner import Owner, machine_identity, process_start

FOLDER = StepFolder("step", "key")
ME = Owner.of_this_process()
ELSEWHERE = Owner(**{**ME.to_json(), "machine": "another machine", "host": "elsewhere"})
DEAD = Owner(**{**ME.to_json(), "process_start": "1"})


def hold(store: Store, owner: Owner = ME, ttl_s: float = 5.0) -> Lease:
    held = LeaseWatch(store, FOLDER, owner, ttl_s).acquire()
    assert isinstance(held, Lease)
    return held


def silence(lease: Lease) -> None:
    """Stop the heartbeat as a killed process would, releasing nothing."""
    lease._stop.set()
    lease._thread.join()


def test_one_holder_at_a_time(store: Store) -> None:
    lease = hold(store)
    other = LeaseWatch(store, FOLDER, ELSEWHERE, 5.0)
    assert isinstance(other.acquire(), LeaseState)
    assert looks_held(read_lease(store, FOLDER))
    lease.confirm()
    lease.release()
    assert not looks_held(read_lease(store, FOLDER))
    taken = other.acquire()
    assert isinstance(taken, Lease)
    taken.release()
    assert len(store.list(FOLDER.leases)) == 1


def test_a_dead_process_on_this_machine_is_taken_over_at_once(store: Store) -> None:
    silence(hold(store, DEAD))
    hold(store, ttl_s=7200).release()


def test_silence_elsewhere_is_taken_over_after_the_time_to_live(store: Store) -> None:
    silence(hold(store, ELSEWHERE))
    watch = LeaseWatch(store, FOLDER, ME, ttl_s=0.4)
    begun = time.monotonic()
    while not isinstance(lease := watch.acquire(), Lease):
        time.sleep(0.02)
    assert time.monotonic() - begun >= 0.4
    lease.release()


def test_a_beating_holder_is_never_taken_over(store: Store) -> None:
    lease = hold(store, ELSEWHERE, ttl_s=0.5)
    # Long beside the beats (0.1 s), so that a busy machine's pauses do not count as silence.
    watch = LeaseWatch(store, FOLDER, ME, ttl_s=2.0)
    end = time.monotonic() + 3.0
    while time.monotonic() < end:
        assert isinstance(watch.acquire(), LeaseState)
        time.sleep(0.05)
    lease.release()


def test_the_loser_notices_and_cannot_confirm_or_disturb(store: Store) -> None:
    loser = hold(store, DEAD, ttl_s=0.2)
    winner = hold(store)
    end = time.monotonic() + 30
    while not loser.lost:
        assert time.monotonic() < end
        time.sleep(0.02)
    with pytest.raises(LeaseLost, match="taken over by"):
        loser.confirm()
    loser.release()
    winner.confirm()
    winner.release()


def test_of_many_at_once_one_wins(store: Store) -> None:
    silence(hold(store, DEAD))
    start = threading.Barrier(8)
    won: list[Lease] = []

    def grab() -> None:
        watch = LeaseWatch(store, FOLDER, Owner.of_this_process(), 5.0)
        start.wait()
        held = watch.acquire()
        if isinstance(held, Lease):
            won.append(held)

    threads = [threading.Thread(target=grab) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    won[0].release()


def test_a_damaged_lease_blocks_nobody_for_long(store: Store) -> None:
    store.write_bytes(f"{FOLDER.leases}/00000003.json", b"{half")
    watch = LeaseWatch(store, FOLDER, ME, ttl_s=0.2)
    while not isinstance(lease := watch.acquire(), Lease):
        time.sleep(0.02)
    lease.release()
    assert store.list(FOLDER.leases) == ["00000004.json"]


def test_an_owner_knows_the_dead_from_the_unknown(tmp_path: Path) -> None:
    assert not ME.is_dead()
    assert DEAD.is_dead(), "the same process number, started at another time"
    assert not ELSEWHERE.is_dead(), "nothing is known about another machine"
    assert process_start(2**22 + 1) == ""
    assert machine_identity() == ME.machine
