"""Chains as their users see them: what runs, what is a hit, what is told."""

import threading
from pathlib import Path
from typing import Any

import pytest

from components.core.artifact import Artifact
from components.core.errors import ConfigError, StepFailed
from components.core.store import Store
from tests.workflows.steps.watching import MakeChain, RecordingTracker, actions
from workflows.steps import Chain, StepContext
from workflows.steps.state.layout import StepFolder


def test_runs_everything_once_and_then_hits(make_chain: MakeChain, steps: Any) -> None:
    first, second = steps.Events(), steps.Events()
    made = make_chain(observer=first).run()
    assert made["total"].value == 4e-3  # type: ignore[attr-defined] # a Number
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
    assert planned["total"].reason == "input left, right will run"


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


def test_independent_steps_run_at_the_same_time(make_chain: MakeChain, steps: Any) -> None:
    meeting = threading.Barrier(2, timeout=20)

    def meet(config: Any, inputs: dict[str, Any], context: StepContext) -> Artifact:
        meeting.wait()
        return Artifact()

    chain = make_chain(empty=True)
    chain.add("one", meet)
    chain.add("two", meet)
    chain.run()


def test_only_from_and_force(make_chain: MakeChain, steps: Any) -> None:
    def ran(**options: Any) -> list[str]:
        events = steps.Events()
        make_chain(observer=events).run(**options)
        return events.of("finished")

    with pytest.raises(ConfigError, match="source has no result yet and is not selected"):
        ran(only=["left"])
    assert ran(only=["source"]) == ["source"]
    assert ran(only=["left"]) == ["left"]
    assert sorted(ran()) == ["right", "total"]
    assert ran(force=["left"]) == ["left"]
    assert ran(from_="right") == ["right", "total"]
    assert sorted(ran(from_="source")) == ["left", "right", "source", "total"]
    assert ran(only=["total"], force=["total"]) == ["total"]
    with pytest.raises(ConfigError, match="did you mean source"):
        ran(only=["sorce"])


def test_a_forced_result_replaces_the_record_and_keeps_the_old_files(
    make_chain: MakeChain, store: Store
) -> None:
    before = make_chain().run()["source"]
    after = make_chain().run(force=["source"])["source"]
    assert before.uri != after.uri
    assert before.digest == after.digest
    assert Path(before.uri).exists(), "a registered version may point to the earlier files"
    assert make_chain().run()["source"].uri == after.uri


def test_a_moved_store_is_still_full_of_hits(make_chain: MakeChain, tmp_path: Path) -> None:
    make_chain(store=Store(str(tmp_path / "old"))).run()
    (tmp_path / "old").rename(tmp_path / "new")
    moved = make_chain(store=Store(str(tmp_path / "new")))
    assert set(actions(moved).values()) == {"skip"}
    assert moved.run()["total"].uri.startswith(str(tmp_path / "new"))


def test_the_same_on_s3(make_chain: MakeChain, steps: Any, s3_bucket: str, tmp_path: Path) -> None:
    remote = Store(f"{s3_bucket}/{tmp_path.name}", str(tmp_path / "cache"))
    made = make_chain(store=remote).run()
    assert made["total"].value == 4e-3  # type: ignore[attr-defined] # a Number
    assert made["total"].uri.startswith(f"{s3_bucket}/{tmp_path.name}/total/")
    events = steps.Events()
    again = make_chain(store=remote, observer=events).run()
    assert (len(events.of("hit")), again) == (4, made)
    forced = make_chain(store=remote).run(force=["source"])["source"]
    assert (forced.uri != made["source"].uri, forced.digest) == (True, made["source"].digest)
    path = remote.relative(forced.uri)
    remote.write_bytes(f"{path}/value.txt", b"0.009")
    assert "altered value.txt" in make_chain(store=remote).plan()[0].reason
    assert make_chain(store=remote).run()["total"] == made["total"]


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
    assert build(tracker=again).run(force=["source", "talks"])
    cached = RecordingTracker()
    build(tracker=cached).run()
    assert ("cached_step", "source", "run-of-source") in cached.calls


def test_wrong_use_is_refused_with_words(make_chain: MakeChain, steps: Any) -> None:
    def three(config: Any, inputs: dict[str, Any], context: StepContext) -> Any:
        return 3

    chain = make_chain()
    with pytest.raises(ConfigError, match="added twice"):
        chain.add("source", steps.source)
    with pytest.raises(ConfigError, match="lower-case"):
        chain.add("Not/good", steps.source)
    chain.add("wrong", three, returns=steps.Number)
    with pytest.raises(StepFailed, match="returned a int, expected a Number"):
        chain.run()
