"""Chains as their users see them: what runs, what is a hit, what happens on failure."""

import errno
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.core.artifact import Artifact
from components.core.errors import (
    ArtifactError,
    ConfigError,
    DataError,
    LeaseLost,
    StepFailed,
    Stopped,
    StoreUnavailable,
)
from components.core.store import Store, resolve
from workflows.steps import Chain, StepContext, records, scheduler, step_run
from workflows.steps.layout import StepFolder
from workflows.steps.leases import Lease, LeaseWatch
from workflows.steps.owner import Owner
from workflows.steps.signals import kept_handlers
from workflows.steps.task import Failed

MakeChain = Callable[..., Chain]


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


def test_runs_everything_once_and_then_hits(make_chain: MakeChain, steps: Any) -> None:
    first, second = steps.Events(), steps.Events()
    made = make_chain(observer=first).run()
    assert made["total"].value == 4e-3  # type: ignore[attr-defined]
    assert sorted(first.of("finished")) == ["left", "right", "source", "total"]
    again = make_chain(observer=second).run()
    assert second.of("hit") == ["source", "left", "right", "total"]
    assert second.of("started") == []
    assert again == made


def test_a_replay_needs_no_cluster(make_chain: MakeChain, store: Store) -> None:
    make_chain().run()

    def refuse() -> None:
        raise AssertionError("the cluster was started for a replay")

    make_chain(executor=None, ensure_cluster=refuse).run()


def test_a_changed_setting_runs_what_follows_and_is_explained(make_chain: MakeChain) -> None:
    make_chain().run()
    changed = make_chain(learning_rate=2e-3)
    planned = {step.name: step for step in changed.plan()}
    assert planned["source"].action == "run"
    assert planned["source"].reason == "changed: learning_rate 0.001 -> 0.002"
    assert planned["source"].diff == [("learning_rate", 0.001, 0.002)]
    assert planned["left"].reason == "input source will run"
    assert planned["total"].reason == "input left will run, right will run"


def test_equal_output_cuts_off_what_follows(make_chain: MakeChain, steps: Any) -> None:
    def copy(config: Any, inputs: dict[str, Any], context: StepContext) -> Any:
        (context.output_path / "value.txt").write_text("same")
        return steps.Number(value=1.0)

    def build(learning_rate: float, **options: Any) -> Chain:
        chain = make_chain(empty=True, **options)
        config = steps.Settings(learning_rate=learning_rate)
        first = chain.add("copy", copy, config=config, returns=steps.Number)
        chain.add("double", steps.total, inputs={"of": [first]}, returns=steps.Number)
        return chain

    build(1.0).run()
    events = steps.Events()
    build(2.0, observer=events).run()
    assert events.of("finished") == ["copy"]
    assert events.of("hit") == ["double"]


@pytest.mark.parametrize("damage", ["delete", "alter", "alter_same_size", "manifest"])
def test_a_damaged_result_is_a_miss_with_that_reason(
    make_chain: MakeChain, store: Store, steps: Any, damage: str
) -> None:
    made = make_chain().run()
    file = Path(made["left"].uri) / "value.txt"
    if damage == "delete":
        file.unlink()
    elif damage == "manifest":
        (file.parents[1] / "manifest.json").unlink()
    else:
        file.write_text("9.999" if damage == "alter_same_size" else "altered it all")
    word = {"delete": "missing value.txt", "manifest": "manifest is missing"}.get(
        damage, "altered value.txt"
    )
    planned = {step.name: step for step in make_chain().plan()}
    assert planned["left"].action == "run"
    assert word in planned["left"].reason
    events = steps.Events()
    again = make_chain(observer=events).run()
    assert events.of("finished") == ["left"]
    assert again["left"].digest == made["left"].digest
    assert Path(again["left"].uri, "value.txt").read_text() == "0.002"


def test_a_record_of_another_schema_is_a_miss(make_chain: MakeChain, store: Store) -> None:
    make_chain().run()
    key = next(name for name in store.list("source"))
    path = StepFolder("source", key).record
    store.write_json(path, {**store.read_json(path), "schema": 99})
    planned = make_chain().plan()[0]
    assert (planned.action, "schema 99" in planned.reason) == ("run", True)
    make_chain().run()
    assert actions(make_chain())["source"] == "skip"


def test_a_failure_ends_with_the_resume_command(make_chain: MakeChain, steps: Any) -> None:
    def broken(config: Any, inputs: dict[str, Any], context: StepContext) -> Artifact:
        (context.output_path / "half.bin").write_bytes(b"half")
        raise DataError("instruct.json[3]: no image; mend the record")

    events = steps.Events()
    chain = make_chain(empty=True, observer=events, resume_command="lavaflow run tiny")
    first = chain.add("source", steps.source, config=steps.Settings(), returns=steps.Number)
    chain.add("broken", broken, inputs={"of": first}, retries=3)
    with pytest.raises(StepFailed) as caught:
        chain.run()
    lines = str(caught.value).splitlines()
    assert lines[-1] == "lavaflow run tiny"
    assert "instruct.json[3]: no image; mend the record" in lines[0]
    assert isinstance(caught.value.__cause__, DataError)
    assert events.of("retry") == []
    details = next(line for line in lines if line.startswith("details: "))
    assert "Traceback" in Path(details.removeprefix("details: ")).read_text()
    key_folder = Path(details.removeprefix("details: ")).parents[1]
    assert not list(key_folder.glob("attempt-*")), "the half-written attempt is gone"
    assert actions(chain) == {"source": "skip", "broken": "run"}
    assert chain.plan()[1].reason == "an earlier attempt did not finish"


def test_what_can_pass_is_tried_again(make_chain: MakeChain, steps: Any) -> None:
    tries: list[str] = []

    def flaky(config: Any, inputs: dict[str, Any], context: StepContext) -> Artifact:
        tries.append(context.attempt)
        if len(tries) < 3:
            raise StoreUnavailable("throttled")
        return Artifact()

    events = steps.Events()
    chain = make_chain(empty=True, observer=events)
    chain.add("flaky", flaky, retries=2)
    chain.run()
    assert len(set(tries)) == 3
    assert events.of("retry") == ["flaky", "flaky"]


def test_retries_end_but_preemptions_do_not_use_them_up(make_chain: MakeChain, steps: Any) -> None:
    def gone(preempted: bool) -> Failed:
        return Failed("NodeDiedError", "gone", "", True, 0.0, preempted=preempted)

    def works(config: Any, inputs: dict[str, Any], context: StepContext) -> Artifact:
        return Artifact()

    executor = steps.ThreadExecutor()
    executor.break_next = [gone(True) for _ in range(5)] + [gone(False)]
    chain = make_chain(empty=True, executor=executor)
    chain.add("works", works, retries=1)
    assert chain.run()["works"].digest
    executor.break_next = [gone(False), gone(False)]
    with pytest.raises(StepFailed, match="NodeDiedError"):
        chain.run(force=True)


def test_independent_steps_run_at_the_same_time(make_chain: MakeChain, steps: Any) -> None:
    meeting = threading.Barrier(2, timeout=20)

    def meet(config: Any, inputs: dict[str, Any], context: StepContext) -> Artifact:
        meeting.wait()
        return Artifact()

    chain = make_chain(empty=True)
    chain.add("one", meet)
    chain.add("two", meet)
    chain.run()


def test_a_failure_lets_running_steps_finish(make_chain: MakeChain, steps: Any) -> None:
    failed = threading.Event()

    def fails(config: Any, inputs: dict[str, Any], context: StepContext) -> Artifact:
        failed.set()
        raise DataError("no")

    def works(config: Any, inputs: dict[str, Any], context: StepContext) -> Artifact:
        assert failed.wait(20)
        time.sleep(0.3)
        return Artifact()

    chain = make_chain(empty=True)
    slow = chain.add("slow", works)
    chain.add("fails", fails)
    chain.add("after", works, inputs={"x": slow})
    with pytest.raises(StepFailed):
        chain.run()
    assert actions(chain) == {"slow": "skip", "fails": "run", "after": "run"}


def test_only_from_and_force(make_chain: MakeChain, steps: Any) -> None:
    def ran(**options: Any) -> list[str]:
        events = steps.Events()
        make_chain(observer=events).run(**options)
        return events.of("finished")

    with pytest.raises(ConfigError, match="source has no result yet and is not selected"):
        ran(only="left")
    assert ran(only="source") == ["source"]
    assert ran(only=["left"]) == ["left"]
    assert sorted(ran()) == ["right", "total"]
    assert ran(force="left") == ["left"]
    assert ran(from_="right") == ["right", "total"]
    assert sorted(ran(force=True)) == ["left", "right", "source", "total"]
    assert ran(only="total", force=True) == ["total"]
    with pytest.raises(ConfigError, match="did you mean source"):
        ran(only="sorce")


def test_a_forced_result_replaces_the_record_and_keeps_the_old_files(
    make_chain: MakeChain, store: Store
) -> None:
    before = make_chain().run()["source"]
    after = make_chain().run(force="source")["source"]
    assert before.uri != after.uri
    assert before.digest == after.digest
    assert Path(before.uri).exists(), "a registered version may point to the earlier files"
    assert make_chain().run()["source"].uri == after.uri


def test_always_run_steps_run_again(make_chain: MakeChain, steps: Any) -> None:
    events = steps.Events()
    chain = make_chain(observer=events)
    chain.add("deploy", lambda config, inputs, context: Artifact(), always_run=True)
    chain.run()
    chain.run()
    assert events.of("finished").count("deploy") == 2
    assert chain.plan()[-1].reason == "runs every time"


def test_pin_bridges_code_but_not_config(make_chain: MakeChain, steps: Any) -> None:
    def build(version: int, learning_rate: float = 1e-3) -> Chain:
        def one(config: Any, inputs: dict[str, Any], context: StepContext) -> Any:
            return steps.Number(value=1)

        def two(config: Any, inputs: dict[str, Any], context: StepContext) -> Any:
            return steps.Number(value=2)

        chain = make_chain(empty=True)
        config = steps.Settings(learning_rate=learning_rate)
        chain.add("train", [one, two][version], config=config, returns=steps.Number)
        return chain

    build(0).run()
    changed = build(1)
    assert changed.plan()[0].reason == "changed: code function"
    key = changed.pin("train", reason="two weeks of training")
    assert "pinned to " + key in changed.plan()[0].reason
    assert changed.run()["train"].value == 1  # type: ignore[attr-defined]
    assert actions(build(1, learning_rate=0.5)) == {"train": "run"}
    assert changed.run(force=True)["train"].value == 2  # type: ignore[attr-defined]
    assert build(0).unpin("train") == [key]
    with pytest.raises(ConfigError, match="differs in code alone"):
        build(1, learning_rate=0.7).pin("train")


def test_a_damaged_pin_is_no_silent_rerun(make_chain: MakeChain, steps: Any) -> None:
    def build(version: int) -> Chain:
        chain = make_chain(empty=True)
        functions = [steps.source, lambda config, inputs, context: steps.Number(value=3)]
        chain.add("s", functions[version], config=steps.Settings(), returns=steps.Number)
        return chain

    made = build(0).run()["s"]
    build(1).pin("s")
    Path(made.uri, "value.txt").unlink()
    with pytest.raises(ArtifactError, match=r"pinned to .* missing value.txt"):
        build(1).run()


def test_adopt_a_folder_made_elsewhere(make_chain: MakeChain, steps: Any, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "value.txt").write_text("21")
    chain = make_chain()
    with pytest.raises(ConfigError, match="give its fields"):
        chain.adopt("source", str(folder))
    with pytest.raises(ConfigError, match="its input source has no result yet"):
        chain.adopt("left", str(folder), {"value": 1})
    adopted = chain.adopt("source", str(folder), {"value": 21})
    assert adopted.uri == str(folder)
    assert chain.run()["left"].value == 42  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="has a result already"):
        chain.adopt("source", str(folder), {"value": 21})
    (folder / "value.txt").write_text("22")
    assert "altered value.txt" in chain.plan()[0].reason


def test_adopt_from_another_store(make_chain: MakeChain, tmp_path: Path) -> None:
    theirs = make_chain(store=Store(str(tmp_path / "theirs"))).run()["source"]
    adopted = make_chain().adopt("source", theirs.uri)
    assert (adopted.uri, adopted.digest) == (theirs.uri, theirs.digest)
    assert adopted == theirs


def test_a_moved_store_is_still_full_of_hits(make_chain: MakeChain, tmp_path: Path) -> None:
    make_chain(store=Store(str(tmp_path / "old"))).run()
    (tmp_path / "old").rename(tmp_path / "new")
    moved = make_chain(store=Store(str(tmp_path / "new")))
    assert set(actions(moved).values()) == {"skip"}
    assert moved.run()["total"].uri.startswith(str(tmp_path / "new"))


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
        taken.append(store.put_if_absent(path, __import__("json").dumps(other).encode()))
        return Artifact()

    chain.add("robbed", robbed)
    with pytest.raises(LeaseLost, match="taken over by"):
        chain.run()
    assert taken == [True]
    assert not store.exists(StepFolder("robbed", chain.plan()[0].key).record)


def test_a_dead_drivers_lease_and_files_are_cleared_away(
    make_chain: MakeChain, store: Store, steps: Any
) -> None:
    chain = make_chain()
    folder = StepFolder("source", chain.plan()[0].key)
    dead = Owner(**{**Owner.of_this_process().to_json(), "process": 2**22 + 1})
    lease = LeaseWatch(store, folder, dead).acquire()
    assert isinstance(lease, Lease)
    lease._stop.set()
    store.write_bytes(f"{folder.path}/attempt-of-the-dead/files/half", b"half")
    store.write_bytes(f"{folder.path}/resume/checkpoint", b"state")
    begun = time.monotonic()
    chain.run()
    assert time.monotonic() - begun < 25, "a time to live of 30 s was not waited for"
    left = store.list(folder.path)
    assert [name for name in left if name.startswith(("attempt-of", "resume"))] == []


def test_interruption_cleans_up(make_chain: MakeChain, steps: Any, store: Store) -> None:
    class Interrupting(steps.ThreadExecutor):  # type: ignore[name-defined]
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

    class Interrupting(steps.ThreadExecutor):  # type: ignore[name-defined]
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
        chain.add("long", long, returns=steps.Number, stop_grace_s=20.0)
        return chain

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        chain_of(Interrupting()).run()
    assert time.monotonic() - began < 10
    # The request of before does not stop the next attempt.
    assert not saved.clear()
    done = threading.Timer(0.3, lambda: saved.append("done"))
    done.start()
    assert chain_of(steps.ThreadExecutor()).run()["long"].value == 1.0
    done.join()


def test_sigterm_cleans_up_like_ctrl_c(make_chain: MakeChain, steps: Any) -> None:
    class Terminating(steps.ThreadExecutor):  # type: ignore[name-defined]
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


def test_the_tracker_hears_everything_and_may_fail(make_chain: MakeChain, steps: Any) -> None:
    tracker = RecordingTracker()

    def talks(config: Any, inputs: dict[str, Any], context: StepContext) -> Any:
        context.log_metrics({"loss": 2}, step=7)
        note = context.output_path.parent / "note.txt"
        note.write_text("hello")
        context.log_artifact(note, "notes/note.txt")
        assert context.run_id == "run-of-talks"
        assert context.made_by[inputs["of"].digest] == "run-of-source"
        return Artifact()

    def build(**options: Any) -> Chain:
        chain = make_chain(empty=True, params={"a": 1}, **options)
        first = chain.add("source", steps.source, config=steps.Settings(), returns=steps.Number)
        chain.add("talks", talks, inputs={"of": first})
        return chain

    build(tracker=tracker).run()
    assert tracker.calls[0] == ("start_run", "test", {"a": 1}, {})
    assert ("start_step", "source", {"learning_rate": 0.001, "name": "a"}, {}) in tracker.calls
    assert ("log_metrics", "talks", {"loss": 2.0}, 7) in tracker.calls
    assert ("log_artifact", "talks", "hello", "notes/note.txt") in tracker.calls
    assert ("finish_step", "talks", "ok") in tracker.calls

    class Failing(RecordingTracker):
        def finish_step(self, step: str, status: str, outputs: dict) -> None:
            raise ConnectionError("no server")

    again = Failing()
    assert build(tracker=again).run(force=True)
    cached = RecordingTracker()
    build(tracker=cached).run()
    assert ("cached_step", "source", "run-of-source") in cached.calls


def test_wrong_use_is_refused_with_words(make_chain: MakeChain, steps: Any) -> None:
    chain = make_chain()
    with pytest.raises(ConfigError, match="added twice"):
        chain.add("source", steps.source)
    with pytest.raises(ConfigError, match="lower-case"):
        chain.add("Not/good", steps.source)
    chain.add("wrong", lambda config, inputs, context: 3, returns=steps.Number)
    with pytest.raises(StepFailed, match="returned a int, expected a Number"):
        chain.run()


def test_a_full_disk_is_told_and_the_next_run_goes_on(
    make_chain: MakeChain, steps: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(path: Path, text: str) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", write)
    with pytest.raises(StepFailed, match=r"StoreError: .*the disk .* is full"):
        make_chain().run()
    monkeypatch.undo()
    assert make_chain().run()["total"].value == 4e-3  # type: ignore[attr-defined]


def test_a_store_that_stutters_costs_no_finished_work(
    make_chain: MakeChain, steps: Any, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "RETRY_STORE_S", 0.05)
    calls: list[str] = []
    real = records.publish

    def stutter(*arguments: Any) -> None:
        calls.append(arguments[1].step)
        if len(calls) < 3:
            raise StoreUnavailable("slow down")
        real(*arguments)

    monkeypatch.setattr(step_run, "publish", stutter)
    events = steps.Events()
    chain = make_chain(empty=True, observer=events)
    chain.add("source", steps.source, config=steps.Settings(), returns=steps.Number)
    chain.run()
    assert calls == ["source"] * 3
    assert (events.of("started"), events.of("finished")) == (["source"], ["source"])


def test_the_same_on_s3(make_chain: MakeChain, steps: Any, s3_bucket: str, tmp_path: Path) -> None:
    remote = Store(f"{s3_bucket}/{tmp_path.name}", str(tmp_path / "cache"))
    made = make_chain(store=remote).run()
    assert made["total"].value == 4e-3  # type: ignore[attr-defined]
    assert made["total"].uri.startswith(f"{s3_bucket}/{tmp_path.name}/total/")
    events = steps.Events()
    again = make_chain(store=remote, observer=events).run()
    assert (len(events.of("hit")), again) == (4, made)
    forced = make_chain(store=remote).run(force="source")["source"]
    assert (forced.uri != made["source"].uri, forced.digest) == (True, made["source"].digest)
    path = remote.relative(forced.uri)
    remote.write_bytes(f"{path}/value.txt", b"0.009")
    assert "altered value.txt" in make_chain(store=remote).plan()[0].reason
    assert make_chain(store=remote).run()["total"] == made["total"]


def test_resume_paths_survive_attempts_and_not_results(make_chain: MakeChain, steps: Any) -> None:
    seen: list[tuple[str, bool]] = []

    def train(config: Any, inputs: dict[str, Any], context: StepContext) -> Artifact:
        folder = Path(context.resume_path())
        seen.append((context.resume_path(), (folder / "state").exists()))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "state").write_text("half way")
        if len(seen) in (1, 3):
            raise DataError("stopped half way")
        return Artifact()

    chain = make_chain(empty=True)
    chain.add("train", train)
    for force in (False, False, True, True):
        if len(seen) in (0, 2):
            with pytest.raises(StepFailed):
                chain.run(force=force)
        else:
            chain.run(force=force)
    paths, resumed = zip(*seen, strict=True)
    assert resumed == (False, True, False, True)
    assert paths[0] == paths[1] != paths[2] == paths[3]
    assert not Path(paths[0]).exists()
