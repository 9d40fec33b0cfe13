"""Two writers of one row at the same moment: both succeed, none is told.

Each finds no such row, the database lets one insert it. A barrier in front of the insert makes that
happen every time, on a real database.
"""

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy

from components.registry.run_writer import RunWriter
from components.registry.versions import Registration, Registry

WAIT_S = 60.0
numbers = itertools.count()


@pytest.fixture
def registry(tracking_uri: str) -> Registry:
    return Registry(tracking_uri)


@pytest.fixture
def model() -> str:
    return f"raced-{next(numbers)}"


@contextlib.contextmanager
def meeting_at_insert(table: str) -> Iterator[list[str]]:
    """Hold back the first insert of each of two threads until both are there; yields failures."""
    barrier, arrived, failures = threading.Barrier(2, timeout=WAIT_S), set(), []

    def wait(_connection, _cursor, statement, *_more) -> None:
        if statement.startswith(f"INSERT INTO {table} ") and len(arrived) < 2:
            arrived.add(threading.get_ident())
            barrier.wait()

    def note(context) -> None:
        failures.append(str(context.original_exception))

    sqlalchemy.event.listen(sqlalchemy.engine.Engine, "before_cursor_execute", wait)
    sqlalchemy.event.listen(sqlalchemy.engine.Engine, "handle_error", note)
    try:
        yield failures
    finally:
        sqlalchemy.event.remove(sqlalchemy.engine.Engine, "before_cursor_execute", wait)
        sqlalchemy.event.remove(sqlalchemy.engine.Engine, "handle_error", note)


def at_once(table: str, *writes: Callable[[], Any]) -> list[Any]:
    """Run two writes that meet at the table; checks that one lost there, returns their results."""
    with meeting_at_insert(table) as failures, ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda write: write(), writes))
    assert any("UNIQUE constraint failed" in each and table in each for each in failures)
    return results


def test_a_new_tag_of_a_version(registry: Registry, model: str) -> None:
    registry.register(model, Registration(checkpoint_uri="/x", checkpoint_digest="d"))
    at_once(
        "model_version_tags",
        lambda: registry.set_tags(model, 1, {"lavaflow.rolled_back": "by ada"}),
        lambda: registry.set_tags(model, 1, {"lavaflow.rolled_back": "by eve"}),
    )
    assert registry.version(model, 1).tags["lavaflow.rolled_back"] in ("by ada", "by eve")


def test_a_new_alias(registry: Registry, model: str) -> None:
    for _ in range(2):
        registry.register(model, Registration(checkpoint_uri="/x", checkpoint_digest="d"))
    at_once(
        "registered_model_aliases",
        lambda: registry.set_alias(model, "champion", 1),
        lambda: registry.set_alias(model, "champion", 2),
    )
    assert registry.alias(model, "champion") is not None


def test_an_alias_that_is_removed_before_it_could_be_moved(registry: Registry, model: str) -> None:
    for _ in range(2):
        registry.register(model, Registration(checkpoint_uri="/x", checkpoint_digest="d"))
    registry.set_alias(model, "previous", 1)
    removals = iter([lambda: registry.remove_alias(model, "previous")])

    def remove_first(_connection, _cursor, statement, *_more) -> None:
        if statement.startswith("UPDATE registered_model_aliases "):
            with ThreadPoolExecutor(1) as pool:
                for remove in removals:
                    pool.submit(remove).result(WAIT_S)

    sqlalchemy.event.listen(sqlalchemy.engine.Engine, "before_cursor_execute", remove_first)
    try:
        registry.set_alias(model, "previous", 2)
    finally:
        sqlalchemy.event.remove(sqlalchemy.engine.Engine, "before_cursor_execute", remove_first)
    assert next(removals, None) is None
    found = registry.alias(model, "previous")
    assert found is not None and found.version == 2


def test_the_first_versions_of_a_new_model(registry: Registry, model: str) -> None:
    registration = Registration(checkpoint_uri="/x", checkpoint_digest="d")
    at_once(
        "registered_models",
        lambda: registry.register(model, registration.with_(key="k1")),
        lambda: registry.register(model, registration.with_(key="k2")),
    )
    assert [each.version for each in registry.versions(model)] == [2, 1]
    assert registry.alias(model, "candidate") is not None


def test_a_new_experiment(tracking_uri: str, model: str) -> None:
    writers = [RunWriter(tracking_uri, model) for _ in range(2)]
    at_once("experiments", *(lambda each=each: each.start_run("tiny", {}, {}) for each in writers))
    assert all(each.run_id for each in writers)


def test_steps_that_start_from_the_same_new_data(tracking_uri: str, client) -> None:
    writers = [RunWriter(tracking_uri, "lavaflow") for _ in range(2)]
    for writer in writers:
        writer.start_run("tiny", {}, {})
    inputs = {"raw": f"/store/raw/{next(numbers)}"}
    run_ids = at_once(
        "datasets",
        *(
            lambda each=each: each.start_step("prepare", each.run_id, {}, inputs)
            for each in writers
        ),
    )
    for run_id in run_ids:
        linked = client.get_run(run_id).inputs.dataset_inputs
        assert [each.dataset.name for each in linked] == ["raw"]


def test_two_runs_that_take_steps_over_from_the_same_killed_one(tracking_uri, client) -> None:
    killed = RunWriter(tracking_uri, "lavaflow")
    killed.start_run("tiny", {}, {})
    keys = [f"{killed.run_id}-{number}" for number in range(2)]
    for key in keys:
        killed.start_step(key, key, {}, {})
    heirs = [RunWriter(tracking_uri, "lavaflow") for _ in keys]
    for heir in heirs:
        heir.start_run("tiny", {}, {})
    at_once(
        "tags",
        *(
            lambda heir=heir, key=key: heir.start_step(key, key, {}, {})
            for heir, key in zip(heirs, keys, strict=True)
        ),
    )
    tags = client.get_run(killed.run_id).data.tags
    assert tags["lavaflow.resumed_by"] in [heir.run_id for heir in heirs]
