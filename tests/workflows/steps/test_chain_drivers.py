"""Drivers that meet at a step, are stopped or die."""

import json
import os
import signal
import threading
import time
from typing import Any

import pytest

from components.core.artifact import Artifact
from components.core.errors import LeaseLost, Stopped
from components.core.store import Store, resolve
from tests.workflows.steps.watching import MakeChain, RecordingTracker, actions
from workflows.steps import Chain, StepContext
from workflows.steps.running.signals import kept_handlers
from workflows.steps.state.layout import StepFolder
from workflows.steps.state.leases import Lease, LeaseWatch
from workflows.steps.state.owner import Owner


def test_waits_for_another_driver_and_takes_its_result(
    make_chain: MakeChain, steps: Any, store: Store
) -> None:
    release = threading.Event()
    calls: list[int] = []

    def slow(config: Any, inputs: dict[str, Any], context: StepContext) -> Artifact:
        calls.append(1)
        release.wait(20)
        return Artifact()

    def build(events: Any) -> Chain:
        chain = make_chain(empty=True, observer=events)
        chain.add("slow", slow)
        return chain

    first, second = steps.Events(), steps.Events()
    one = threading.Thread(target=build(first).run)
    one.start()
    while not calls:
        time.sleep(0.01)
    assert actions(build(steps.Events())) == {"slow": "wait"}
    two = threading.Thread(target=build(second).run)
    two.start()
    while not second.of("waiting"):
        time.sleep(0.01)
    release.set()
    one.join(20)
    two.join(20)
    assert (len(calls), second.of("hit"), first.of("finished")) == (1, ["slow"], ["slow"])


def test_a_lost_lease_is_fatal_and_publishes_nothing(make_chain: MakeChain, store: Store) -> None:
    chain = make_chain(empty=True)
    taken: list[Any] = []

    def robbed(config: Any, inputs: dict[str, Any], context: StepContext) -> Artifact:
        folder = StepFolder(context.step, context.key)
        path = f"{folder.leases}/00000002.json"
        other = {**store.read_json(f"{folder.leases}/00000001.json"), "number": 2}
        taken.append(store.put_if_absent(path, json.dumps(other).encode()))
        return Artifact()

    chain.add("robbed", robbed)
    with pytest.raises(LeaseLost, match="taken over by"):
        chain.run()
    assert taken == [True]
    assert not store.exists(StepFolder("robbed", chain.plan()[0].key).record)


def test_a_dead_drivers_lease_and_files_are_cleared_away(
    make_chain: MakeChain, store: Store, steps: Any
) -> None:
    chain = make_chain(lease_ttl_s=7200.0)  # never waited for within the time of a test
    folder = StepFolder("source", chain.plan()[0].key)
    dead = Owner(**{**Owner.of_this_process().to_json(), "process": 2**22 + 1})
    lease = LeaseWatch(store, folder, dead).acquire()
    assert isinstance(lease, Lease)
    lease._stop.set()
    store.write_bytes(f"{folder.path}/attempt-of-the-dead/files/half", b"half")
    store.write_bytes(f"{folder.path}/resume/checkpoint", b"state")
    chain.run()
    left = store.list(folder.path)
    assert [name for name in left if name.startswith(("attempt-of", "resume"))] == []


def test_interruption_cleans_up(make_chain: MakeChain, steps: Any, store: Store) -> None:
    class Interrupting(steps.ThreadExecutor):  # type: ignore[name-defined] # a fixture's
        def wait(self, tickets: Any, timeout_s: float) -> list[str]:
            raise KeyboardInterrupt

    executor, tracker = Interrupting(), RecordingTracker()
    chain = make_chain(executor=executor, tracker=tracker)
    with pytest.raises(KeyboardInterrupt):
        chain.run()
    assert len(executor.cancelled) == 1
    assert ("finish_step", "source", "interrupted") in tracker.calls
    assert tracker.calls[-1] == ("finish_run", "interrupted")
    lease = LeaseWatch(store, StepFolder("source", chain.plan()[0].key), Owner.of_this_process())
    held = lease.acquire()
    assert isinstance(held, Lease), "the lease was given back"
    held.release()


def test_a_step_that_can_save_is_given_the_time_to(
    make_chain: MakeChain, steps: Any, store: Store
) -> None:
    """It sees the request, saves and ends, and only then is it cancelled; the next one starts."""
    saved = []

    def long(config: Any, inputs: dict[str, Any], context: StepContext) -> Any:
        at, path = resolve(context.stop_uri())
        end = time.monotonic() + 20
        while time.monotonic() < end and not saved:
            if at.exists(path):
                saved.append(context.attempt)
                raise Stopped("saved")
            time.sleep(0.01)
        return steps.Number(value=1.0)

    class Interrupting(steps.ThreadExecutor):  # type: ignore[name-defined] # a fixture's
        interrupted = False

        def wait(self, tickets: Any, timeout_s: float) -> list[str]:
            if not self.interrupted:
                self.interrupted = True
                raise KeyboardInterrupt
            return super().wait(tickets, timeout_s)

        def cancel(self, tickets: Any) -> None:
            assert saved, "cancelled before it could save"
            super().cancel(tickets)

    def chain_of(executor: Any) -> Any:
        chain = make_chain(executor=executor, empty=True)
        chain.add("long", long, returns=steps.Number, stop_grace_s=7200.0)
        return chain

    with pytest.raises(KeyboardInterrupt):
        chain_of(Interrupting()).run()
    # The request of before does not stop the next attempt.
    assert not saved.clear()
    done = threading.Timer(0.3, lambda: saved.append("done"))
    done.start()
    assert chain_of(steps.ThreadExecutor()).run()["long"].value == 1.0
    done.join()


def test_sigterm_cleans_up_like_ctrl_c(make_chain: MakeChain, steps: Any) -> None:
    class Terminating(steps.ThreadExecutor):  # type: ignore[name-defined] # a fixture's
        def wait(self, tickets: Any, timeout_s: float) -> list[str]:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(timeout_s)
            return []

    before = signal.getsignal(signal.SIGTERM)
    tracker = RecordingTracker()
    with pytest.raises(KeyboardInterrupt):
        make_chain(executor=Terminating(), tracker=tracker).run()
    assert tracker.calls[-1] == ("finish_run", "interrupted")
    assert signal.getsignal(signal.SIGTERM) == before

    def replaces_the_handler() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    with kept_handlers():
        replaces_the_handler()
    assert signal.getsignal(signal.SIGTERM) == before
