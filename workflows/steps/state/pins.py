"""Pins: keep the result of a given key although the code changed since.

In: a step's pin file, `{"schema": 1, "pins": [{"key", "at"}]}`. Out: the pinned key that
stands for a step's present payload, if any. A pin bridges a difference in code only. Where the
config or an input differs it does not apply, so a pinned checkpoint never passes for another
recipe's.
"""

import time
from collections.abc import Mapping
from typing import Any

from components.core.errors import ArtifactError, ConfigError
from components.core.store import Store
from workflows.steps.identity.keys import same_but_for_code
from workflows.steps.identity.payloads import read_payload
from workflows.steps.state.layout import StepFolder, pins_path

PIN_SCHEMA = 1


def pinned_keys(store: Store, step: str) -> list[str]:
    """Return a step's pinned keys, the newest first."""
    return [str(pin["key"]) for pin in reversed(_read(store, step))]


def pin_for(store: Store, step: str, payload: Mapping[str, Any]) -> str | None:
    """Return the pinned key whose payload differs from this one in its code at most."""
    for key in pinned_keys(store, step):
        pinned = read_payload(store, StepFolder(step, key))
        if pinned is not None and same_but_for_code(pinned, payload):
            return key
    return None


def add_pin(store: Store, step: str, key: str) -> None:
    """Pin a key; its record must be there."""
    if not store.exists(StepFolder(step, key).record):
        raise ConfigError(f"step {step} has no result with key {key}; `plan` shows the keys")
    others = [pin for pin in _read(store, step) if pin["key"] != key]
    _write(store, step, [*others, {"key": key, "at": time.time()}])


def remove_pin(store: Store, step: str, key: str | None = None) -> list[str]:
    """Remove one pin, or all of a step; returns the keys that were pinned."""
    pins = _read(store, step)
    gone = [str(pin["key"]) for pin in pins if key in (None, pin["key"])]
    if gone:
        _write(store, step, [pin for pin in pins if pin["key"] not in gone])
    return gone


def _read(store: Store, step: str) -> list[dict[str, Any]]:
    try:
        value = store.read_json(pins_path(step))
    except FileNotFoundError:
        return []
    if not isinstance(value, dict) or value.get("schema") != PIN_SCHEMA:
        raise ArtifactError(
            f"{store.uri(pins_path(step))}: not a pin file of schema {PIN_SCHEMA}; mend it or "
            "delete it"
        )
    return list(value["pins"])


def _write(store: Store, step: str, pins: list[dict[str, Any]]) -> None:
    store.write_json(pins_path(step), {"schema": PIN_SCHEMA, "pins": pins})
