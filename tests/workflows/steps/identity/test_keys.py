"""Keys: equal work has equal keys in every process, different work has different ones."""

import datetime
import enum
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from components.core.artifact import Artifact, FileEntry, Manifest
from components.core.config import Config
from components.core.errors import ConfigError
from workflows.steps.identity.keys import (
    artifact_digest,
    canonical_json,
    encode,
    identity_values,
    payload_key,
    same_but_for_code,
    step_payload,
)


class Inner(Config):
    depth: int = 2
    address: str = Field(default="here", json_schema_extra={"identity": False})


class Training(Config):
    """A config with every kind of non-identity field."""

    learning_rate: float = 2e-3
    parts: tuple[str, ...] = ("connector",)
    inner: Inner = Inner()
    num_workers: int = Field(default=1, json_schema_extra={"identity": False})
    cache_path: Path = Field(default=Path("/tmp"), json_schema_extra={"identity": False})


class Colour(enum.Enum):
    RED = 1


def train(config: Any, inputs: Any, context: Any) -> Artifact:
    return Artifact()


def key(config: Any = None, inputs: Any = None, step: str = "s") -> str:
    return payload_key(step_payload(step, train, config, inputs or {}))


def test_addresses_and_worker_counts_are_not_identity() -> None:
    here = Training()
    there = Training(num_workers=64, cache_path=Path("/elsewhere"), inner=Inner(address="there"))
    assert key(here) == key(there)


@pytest.mark.parametrize(
    "changed",
    [
        Training(learning_rate=2.1e-3),
        Training(parts=("connector", "language_model")),
        Training(inner=Inner(depth=3)),
    ],
    ids=["learning_rate", "tuple", "nested"],
)
def test_a_setting_that_matters_changes_the_key(changed: Training) -> None:
    assert key(changed) != key(Training())


def test_inputs_count_by_digest_and_order_not_by_place() -> None:
    here, moved = Artifact(uri="/a", digest="1"), Artifact(uri="s3://b/a", digest="1")
    other = Artifact(uri="/a", digest="2")
    assert key(inputs={"x": here}) == key(inputs={"x": moved})
    assert key(inputs={"x": here}) != key(inputs={"x": other})
    assert key(inputs={"x": [here, other]}) != key(inputs={"x": [other, here]})
    assert key(inputs={"x": here}) != key(inputs={"y": here})
    assert key(step="s") != key(step="t")
    with pytest.raises(ConfigError, match=r"inputs.x: this Artifact has no digest"):
        key(inputs={"x": Artifact(uri="/a")})


def test_the_key_is_the_same_in_another_process() -> None:
    code = (
        "import sys; sys.path.insert(0, '.');"
        "from workflows.steps.identity.keys import encode, canonical_json;"
        "print(canonical_json(encode({'a': {'y', 'x', 'z'}, 'b': [1, 1.5, None, True]})).decode())"
    )
    root = Path(__file__).parents[4]
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    here = canonical_json(encode({"a": {"y", "x", "z"}, "b": [1, 1.5, None, True]})).decode()
    assert outputs == {here}


@pytest.mark.parametrize(
    "value",
    [object(), train, Config, Path("/x"), {1: "a"}, iter([]), 1j, {"deep": [object()]}],
    ids=["object", "function", "class", "path", "int key", "iterator", "complex", "nested"],
)
def test_values_without_a_stable_form_are_refused(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"stable form|text as keys"):
        encode(value)


def test_the_refusal_names_the_field() -> None:
    with pytest.raises(ConfigError, match=r"train\.deep\[1\]: a builtins.object"):
        encode({"deep": [1, object()]}, "train")


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.dates()
    | st.decimals(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(PLAIN)
@settings(max_examples=80, deadline=None)
def test_the_form_is_plain_json_and_a_function_of_the_value(value: Any) -> None:
    first = canonical_json(encode(value))
    assert json.loads(first) == encode(value)
    assert canonical_json(encode(value)) == first


@given(st.dictionaries(st.text(), st.integers(), max_size=6))
@settings(max_examples=60, deadline=None)
def test_the_order_of_a_mapping_does_not_matter(value: dict[str, int]) -> None:
    backwards = dict(reversed(list(value.items())))
    assert canonical_json(encode(value)) == canonical_json(encode(backwards))


@given(PLAIN, PLAIN)
@settings(max_examples=150, deadline=None)
def test_different_values_have_different_forms(one: Any, other: Any) -> None:
    same_form = canonical_json(encode(one)) == canonical_json(encode(other))
    # repr tells 1 from 1.0 and True; -0.0 is 0.0 and Decimal 1.0 is 1 by intent.
    if same_form:
        assert one == other
    elif repr(one) == repr(other):
        pytest.fail("one value, two forms")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (1, True),
        (1, "1"),
        (Colour.RED, 1),
        ({"$float": "inf"}, float("inf")),
        ({"$set": [1]}, {1}),
        (b"x", "x"),
        (None, "None"),
        (datetime.date(2026, 1, 1), "2026-01-01"),
        ([], {}),
    ],
)
def test_kinds_do_not_pass_for_each_other(one: Any, other: Any) -> None:
    assert canonical_json(encode(one)) != canonical_json(encode(other))


def test_negative_zero_is_zero() -> None:
    assert encode(-0.0) == encode(0.0)
    assert str(encode(-0.0)) == "0.0"


def test_only_code_may_differ_for_a_pin() -> None:
    base = step_payload("s", train, Training(), {})
    assert same_but_for_code(base, {**base, "code": {"components.data.tokens": "other"}})
    assert same_but_for_code(base, {**base, "schema": 1, "code": {}}), "a new form keeps results"
    assert not same_but_for_code(base, step_payload("s", train, Training(learning_rate=1), {}))


def test_the_digest_of_an_artifact_is_its_content_not_its_place() -> None:
    class Kind(Artifact):
        rows: int = 0

    files = Manifest({"a": FileEntry(1, "ff", stamp="1")})
    same = Manifest({"a": FileEntry(1, "ff", stamp="2")})
    assert artifact_digest(Kind(rows=1, uri="/x"), files) == artifact_digest(Kind(rows=1), same)
    assert artifact_digest(Kind(rows=2), files) != artifact_digest(Kind(rows=1), files)
    other = Manifest({"b": FileEntry(1, "ff")})
    assert artifact_digest(Kind(rows=1), other) != artifact_digest(Kind(rows=1), files)


def test_identity_values_are_flat_and_plain() -> None:
    assert identity_values(Training()) == {
        "learning_rate": 2e-3,
        "parts": ["connector"],
        "inner.depth": 2,
    }
