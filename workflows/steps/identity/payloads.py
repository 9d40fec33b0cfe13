"""Payloads kept beside the results, and what changed since the nearest earlier one.

In: the payload of a step's present key. Out: the field-level difference to the earlier key that is
most like it, for `plan --explain`.
"""

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from components.core.config import changed_fields
from components.core.errors import ArtifactError
from components.core.store import Store, encode_json
from workflows.steps.state.layout import StepFolder

PAYLOAD_SCHEMA = 1

# Beyond so many keys of one step only the first in name order are compared.
MAX_COMPARED = 200

CODE = "code."
"""How the fields of changed code begin; a module's name follows."""

# One changed field: dotted name, earlier value, present value.
Change = tuple[str, Any, Any]


@dataclass(frozen=True)
class Nearest:
    """The earlier key that is most like the present one, and how the two differ."""

    key: str
    changes: list[Change]


def write_payload(store: Store, folder: StepFolder, payload: Mapping[str, Any]) -> None:
    """Keep a payload beside the results of its key."""
    value = {"schema": PAYLOAD_SCHEMA, "created_at": time.time(), "payload": payload}
    store.put_if_absent(folder.payload, encode_json(value))


def read_payload(store: Store, folder: StepFolder) -> dict[str, Any] | None:
    """Return a key's payload, or None when there is none that can be read."""
    stored = _read(store, folder)
    return stored["payload"] if stored is not None else None


def nearest_earlier(
    store: Store, step: str, payload: Mapping[str, Any], key: str
) -> Nearest | None:
    """Return the difference to the most similar other key of a step, or None at the first run."""
    keys = [name for name in store.list(step) if name not in (key, "pin.json")][:MAX_COMPARED]
    if not keys:
        return None
    with ThreadPoolExecutor(max_workers=8) as pool:
        found = list(pool.map(lambda name: _read(store, StepFolder(step, name)), keys))
    candidates = []
    for name, stored in zip(keys, found, strict=True):
        if stored is None:
            continue
        changes = payload_changes(stored["payload"], payload)
        in_code = sum(1 for field, _, _ in changes if is_code(field))
        distance = (len(changes) - in_code, in_code, -float(stored["created_at"]))
        candidates.append((distance, name, changes))
    if not candidates:
        return None
    _, name, changes = min(candidates, key=lambda one: one[0])
    return Nearest(name, changes)


def payload_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """Return the fields that differ, config fields by their plain dotted names."""
    rows = changed_fields(old, new)
    return [(field.removeprefix("config."), before, after) for field, before, after in rows]


def describe_changes(changes: list[Change], limit: int = 3) -> str:
    """Return the changes in one line: `learning_rate 2e-05 -> 1e-05, code
    components.data.tokens`.
    """
    parts = []
    for field, before, after in sorted(changes, key=lambda change: is_code(change[0])):
        if field.startswith(CODE):
            parts.append(f"code {field.removeprefix(CODE)}")
        elif field.startswith("inputs."):
            parts.append(f"input {field.removeprefix('inputs.')}")
        else:
            parts.append(f"{field} {_short(before)} -> {_short(after)}")
    rest = f" and {len(parts) - limit} more" if len(parts) > limit else ""
    return ", ".join(parts[:limit]) + rest


def is_code(field: str) -> bool:
    """Return whether a changed field says which code is meant, or how that is written down."""
    return field.startswith(CODE) or field == "schema"


def _short(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _read(store: Store, folder: StepFolder) -> dict[str, Any] | None:
    try:
        value = store.read_json(folder.payload)
    except (FileNotFoundError, ArtifactError):
        return None
    usable = isinstance(value, dict) and value.get("schema") == PAYLOAD_SCHEMA
    return value if usable else None
