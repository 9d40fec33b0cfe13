"""What happens when a step fails: what is kept, tried again and told."""

import errno
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from components.core.artifact import Artifact
from components.core.errors import DataError, StepFailed, StoreUnavailable
from components.core.store import Store
from tests.workflows.steps.watching import MakeChain, actions
from workflows.steps import StepContext
from workflows.steps.running import scheduler, step_run
from workflows.steps.running.task import Failed
from workflows.steps.state import records


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
        chain.run(force=["works"])


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
    for force in ([], [], ["train"], ["train"]):
        if len(seen) in (0, 2):
            with pytest.raises(StepFailed):
                chain.run(force=force)
        else:
            chain.run(force=force)
    paths, resumed = zip(*seen, strict=True)
    assert resumed == (False, True, False, True)
    assert paths[0] == paths[1] != paths[2] == paths[3]
    assert not Path(paths[0]).exists()


def test_a_full_disk_is_told_and_the_next_run_goes_on(
    make_chain: MakeChain, steps: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(path: Path, text: str) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", write)
    with pytest.raises(StepFailed, match=r"StoreError: .*the disk .* is full"):
        make_chain().run()
    monkeypatch.undo()
    assert make_chain().run()["total"].value == 4e-3  # type: ignore[attr-defined] # a Number


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
