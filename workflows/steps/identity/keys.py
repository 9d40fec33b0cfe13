"""What makes two steps the same: the canonical payload and the key made from it.

In: a step's name, its function, literal config and inputs. Out: the payload
(plain JSON, kept beside the artifact for `plan --explain`) and its key. Addresses, paths, resources
and worker counts are not identity: fields declared with `json_schema_extra={"identity": False}` are
left out by structure. Inputs count by the digest of what they are, not by where they lie.

The encoder refuses values without a stable form instead of falling back on `str()` or `repr()`,
which for an object with an address in its text would give a new key in every process.
"""

import dataclasses
import datetime
import decimal
import enum
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from components.core.artifact import Artifact, Manifest
from components.core.config import changes_no_result
from components.core.errors import ConfigError
from workflows.steps.identity.source_code import code_digests

# Raised when the payload's form changes; every key changes with it.
KEY_SCHEMA = 2

# 20 hex digits (80 bits): no collision to fear among the steps of a store, and still readable.
KEY_DIGITS = 20

StepInput = Artifact | Sequence[Artifact]


def encode(value: Any, where: str = "config") -> Any:
    """Return the canonical JSON form of a value.

    Equal values give equal forms in every process and Python version; values of different types
    (1, 1.0, true, "1") give different forms. Raises ConfigError, naming the field, for a value that
    has no stable form.
    """
    if isinstance(value, enum.Enum):
        return {"$enum": [type(value).__name__, encode(value.value, where)]}
    if value is None or isinstance(value, bool | str):
        return value if value is None or isinstance(value, bool) else str(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return _encode_float(value)
    if isinstance(value, Artifact):
        return {"$artifact": input_digest(value, where)}
    if isinstance(value, BaseModel):
        return _encode_fields(value, _model_fields(value), where)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _encode_fields(value, _dataclass_fields(value), where)
    if isinstance(value, Mapping):
        return _encode_mapping(value, where)
    if isinstance(value, set | frozenset):
        members = [encode(member, f"{where}{{}}") for member in value]
        return {"$set": sorted(members, key=lambda member: json.dumps(member, sort_keys=True))}
    if isinstance(value, list | tuple):
        return [encode(member, f"{where}[{index}]") for index, member in enumerate(value)]
    if isinstance(value, bytes):
        return {"$bytes": hashlib.sha256(value).hexdigest()}
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        return {"$date": value.astimezone(datetime.UTC).isoformat()}
    if isinstance(value, datetime.date):
        return {"$date": value.isoformat()}
    if isinstance(value, decimal.Decimal):
        return {"$decimal": str(value.normalize())}
    raise ConfigError(
        f"{where}: a {type(value).__module__}.{type(value).__qualname__} has no stable form, so "
        "no key can be made from it; use numbers, text, lists or a Config, or mark the field "
        'json_schema_extra={"identity": False} when it must not change the result'
    )


def step_payload(
    step: str,
    function: Callable[..., Any],
    config: Any,
    inputs: Mapping[str, StepInput],
) -> dict[str, Any]:
    """Return the plain JSON value that identifies one run of a step.

    Its `code` holds a digest of each module that the function can reach (see `source_code.py`).
    """
    settings = encode(config, step)
    return {
        "schema": KEY_SCHEMA,
        "step": step,
        "config": settings,
        "inputs": {name: _input_identity(value, name) for name, value in sorted(inputs.items())},
        "code": code_digests(function, settings or {}),
    }


def payload_key(payload: Mapping[str, Any]) -> str:
    """Return the key of a payload: the first digits of the sha256 of its canonical JSON."""
    return hashlib.sha256(canonical_json(payload)).hexdigest()[:KEY_DIGITS]


def same_but_for_code(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two payloads differ in their code at most (what a pin may bridge).

    How a payload is written is no difference: a new form with equal values keeps the result.
    """
    ignored = {"code": None, "schema": None}
    return {**one, **ignored} == {**other, **ignored}


def artifact_digest(body: Artifact, manifest: Manifest) -> str:
    """Return the digest of an artifact: its files and typed fields, not where it lies."""
    whole = {"files": manifest.digest(), "fields": _artifact_fields(body)}
    return hashlib.sha256(canonical_json(whole)).hexdigest()


def canonical_json(value: Any) -> bytes:
    """Return the one byte form of an encoded value."""
    return json.dumps(
        value, sort_keys=True, ensure_ascii=True, allow_nan=False, separators=(",", ":")
    ).encode()


def input_digest(artifact: Artifact, where: str) -> str:
    """Return an input's digest; raises ConfigError when the artifact was never published."""
    if not artifact.digest:
        raise ConfigError(
            f"{where}: this {type(artifact).__name__} has no digest, so it was not published by a "
            "step; pass the handle of the step that makes it"
        )
    return artifact.digest


def identity_values(config: BaseModel) -> dict[str, Any]:
    """Return the identity fields of a config as dotted names and plain values, for people to
    read.
    """
    flat: dict[str, Any] = {}

    def walk(plain: Any, encoded: Any, prefix: str) -> None:
        if isinstance(plain, Mapping) and isinstance(encoded, Mapping) and plain:
            for name in plain:
                if name in encoded:
                    walk(plain[name], encoded[name], f"{prefix}.{name}" if prefix else name)
        else:
            flat[prefix] = plain

    walk(config.model_dump(mode="json"), encode(config), "")
    return flat


def _input_identity(value: StepInput, name: str) -> str | list[str]:
    if isinstance(value, Artifact):
        return input_digest(value, f"inputs.{name}")
    return [input_digest(one, f"inputs.{name}[{index}]") for index, one in enumerate(value)]


def _artifact_fields(body: Artifact) -> dict[str, Any]:
    fields = {
        name: one for name, one in _model_fields(body).items() if name not in ("uri", "digest")
    }
    return {name: encode(one, name) for name, one in sorted(fields.items())}


def _encode_float(value: float) -> Any:
    if not math.isfinite(value):
        # JSON has no form for these; a score may well be undefined.
        return {"$float": repr(value)}
    # -0.0 equals 0.0 and must not make another key.
    return value + 0.0


def _encode_fields(owner: Any, fields: Mapping[str, Any], where: str) -> dict[str, Any]:
    encoded = {name: encode(value, f"{where}.{name}") for name, value in fields.items()}
    return {"$kind": type(owner).__name__, **encoded}


def _encode_mapping(value: Mapping[Any, Any], where: str) -> dict[str, Any]:
    encoded = {}
    for key, member in value.items():
        if not isinstance(key, str) or isinstance(key, enum.Enum):
            raise ConfigError(
                f"{where}: the key {key!r} is a {type(key).__name__}; mappings need text as keys"
            )
        # `$` marks our own forms; a user's key that begins with it is doubled to stay apart.
        encoded["$" + key if key.startswith("$") else str(key)] = encode(member, f"{where}.{key}")
    return encoded


def _model_fields(model: BaseModel) -> dict[str, Any]:
    """Return the identity fields of a pydantic model by name."""
    return {
        name: getattr(model, name)
        for name, field in type(model).model_fields.items()
        if not changes_no_result(field.json_schema_extra)
    }


def _dataclass_fields(value: Any) -> dict[str, Any]:
    return {
        field.name: getattr(value, field.name)
        for field in dataclasses.fields(value)
        if not changes_no_result(field.metadata)
    }
