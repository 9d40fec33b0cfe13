"""`plan`: what a run would do with each step, and why, without running anything.

In: the nodes of a chain and the store. Out: one PlannedStep per step. Reads the store only: it
takes no lease, starts no Ray and writes nothing.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from components.core.artifact import Artifact
from components.core.logs import format_duration
from components.core.store import Store
from workflows.steps.graph import Node, Selection
from workflows.steps.identity.payloads import (
    Change,
    describe_changes,
    nearest_earlier,
    read_payload,
)
from workflows.steps.state.layout import StepFolder
from workflows.steps.state.leases import LeaseState, looks_held, read_lease
from workflows.steps.state.pins import pin_for
from workflows.steps.state.records import Hit, Miss, look_up


@dataclass(frozen=True)
class PlannedStep:
    """What a run would do with one step."""

    name: str
    action: str
    """`run`, `wait` (another driver runs it) or `skip` (a result is there)."""
    reason: str
    key: str
    """Empty while an input is not known yet."""
    diff: list[Change] = field(default_factory=list)
    """(field, earlier value, present value) against the nearest earlier key."""
    nearest_key: str = ""
    artifact: Artifact | None = None
    """The result, for `skip`."""
    seconds: float | None = None
    """How long the result took to make (skip)."""


def plan_steps(store: Store, nodes: Mapping[str, Node], selection: Selection) -> list[PlannedStep]:
    """Return what would happen to each step, in the chain's order."""
    planned: dict[str, PlannedStep] = {}
    results: dict[str, Artifact] = {}
    for node in nodes.values():
        step = _plan_one(store, node, selection, planned, results)
        planned[node.name] = step
        if step.artifact is not None and step.action == "skip":
            results[node.name] = step.artifact
    return list(planned.values())


def _plan_one(
    store: Store,
    node: Node,
    selection: Selection,
    planned: Mapping[str, PlannedStep],
    results: Mapping[str, Artifact],
) -> PlannedStep:
    name = node.name
    if name not in selection.wanted:
        return PlannedStep(name, "skip", "not selected", "")
    open_inputs = [parent for parent in node.parents if parent not in results]
    if open_inputs:
        return PlannedStep(name, "run", f"input {_open_text(open_inputs, planned)}", "")
    payload, key = node.identity(results)
    folder = StepFolder(name, key)
    found = look_up(store, folder, node.returns)
    forced = name in selection.forced
    if isinstance(found, Hit) and not forced:
        return _skip(found, key, _done_text(found))
    pinned = None if forced else pin_for(store, name, payload)
    if pinned is not None:
        kept = look_up(store, StepFolder(name, pinned), node.returns)
        if isinstance(kept, Hit):
            return _skip(kept, pinned, f"pinned to {pinned}, {_done_text(kept)}")
        return PlannedStep(name, "run", f"pinned to {pinned}, but {kept.reason}", key)
    lease = read_lease(store, folder)
    if lease is not None and looks_held(lease):
        return PlannedStep(name, "wait", _held_text(lease), key)
    reason = "forced" if forced else _reason(store, folder, found)
    return _explained(store, folder, payload, PlannedStep(name, "run", reason, key))


def _explained(
    store: Store, folder: StepFolder, payload: dict[str, Any], step: PlannedStep
) -> PlannedStep:
    """Add the difference to the nearest earlier key to a step that will run."""
    nearest = nearest_earlier(store, folder.step, payload, folder.key)
    if nearest is None:
        return step
    reason = step.reason
    if reason == Miss("no result yet").reason:
        reason = f"changed: {describe_changes(nearest.changes)}"
    return PlannedStep(
        step.name, step.action, reason, step.key, nearest.changes, nearest_key=nearest.key
    )


def _reason(store: Store, folder: StepFolder, found: Hit | Miss) -> str:
    reason = found.reason if isinstance(found, Miss) else ""
    if found.data is None and read_payload(store, folder) is not None:
        return "an earlier attempt did not finish"
    return reason


def _open_text(inputs: list[str], planned: Mapping[str, PlannedStep]) -> str:
    """What becomes of inputs without a result: `raw, finetune and 3 more will run`."""
    parts = []
    for action, word in (
        ("run", "will run"),
        ("wait", "is being made"),
        ("skip", "is not selected"),
    ):
        names = [one for one in inputs if planned[one].action == action]
        more = f" and {len(names) - 2} more" if len(names) > 2 else ""
        parts += [f"{', '.join(names[:2])}{more} {word}"] * bool(names)
    return ", ".join(parts)


def _skip(found: Hit, key: str, reason: str) -> PlannedStep:
    return PlannedStep(
        found.record.step,
        "skip",
        reason,
        key,
        artifact=found.artifact,
        seconds=found.record.seconds,
    )


def _done_text(found: Hit) -> str:
    record = found.record
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(record.started_at + record.seconds))
    if record.adopted:
        return f"adopted {when}"
    return f"done {when} in {format_duration(record.seconds)}"


def _held_text(lease: LeaseState) -> str:
    since = format_duration(max(0.0, time.time() - lease.acquired_at))
    return f"{lease.owner} has been running it for {since}"
