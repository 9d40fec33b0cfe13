"""The base of every configuration: frozen, typed, strict, with one canonical form.

In: keyword arguments, a saved JSON object, or dotted overrides from the command line. Out: frozen
pydantic models. Schemas live beside their owners; values live only in `workflows/recipes/`.
"""

import difflib
import json
from collections.abc import Iterable, Mapping
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from components.core.errors import ConfigError


class Config(BaseModel):
    """Frozen settings. Unknown keys are refused with the nearest known names.

    Field docstrings (a string under the field) become the help of the option.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        ser_json_inf_nan="strings",
        protected_namespaces=(),
    )

    def with_(self, **changes: Any) -> Self:
        """Return a validated copy with some fields changed."""
        unknown = sorted(set(changes) - set(type(self).model_fields))
        if unknown:
            raise ConfigError(_unknown_key(unknown[0], type(self), type(self).__name__))
        return parse(type(self), {**dict(self), **changes})

    def canonical(self) -> dict[str, Any]:
        """Return the JSON form that identifies this configuration: every field, defaults written
        out.
        """
        return self.model_dump(mode="json")


ConfigT = TypeVar("ConfigT", bound=Config)


def parse(kind: type[ConfigT], values: Mapping[str, Any], where: str = "") -> ConfigT:
    """Build a configuration from plain values, or raise ConfigError naming the field, the value and
    what is allowed.
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError(_readable(kind, error, where)) from None


def override(config: ConfigT, assignments: Iterable[str]) -> ConfigT:
    """Apply `a.b.c=value` assignments in order; a value is read as JSON where it parses, else as
    text.

    Raises ConfigError for an unknown key (with the nearest names), a missing `=` or a value that
    does not fit.
    """
    values = config.model_dump()
    for assignment in assignments:
        dotted, equals, text = assignment.partition("=")
        if not equals or not dotted:
            raise ConfigError(
                f"--set {assignment!r}: expected KEY=VALUE, such as finetune.learning_rate=1e-5"
            )
        _assign(values, config, dotted, _read_value(text))
    return parse(type(config), values)


def changed_fields(old: Any, new: Any, prefix: str = "") -> list[tuple[str, Any, Any]]:
    """List (dotted field, old value, new value) where two canonical forms differ."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        rows: list[tuple[str, Any, Any]] = []
        for key in sorted(set(old) | set(new)):
            rows += changed_fields(
                old.get(key), new.get(key), f"{prefix}.{key}" if prefix else str(key)
            )
        return rows
    return [] if old == new else [(prefix, old, new)]


def changes_no_result(marks: object) -> bool:
    """Return whether a field is marked `{"identity": False}`: a place, a number of workers."""
    return isinstance(marks, Mapping) and marks.get("identity", True) is False


def _assign(values: dict[str, Any], config: Config, dotted: str, value: Any) -> None:
    node: Any = values
    owner: Any = config
    names = dotted.split(".")
    for depth, name in enumerate(names):
        known = (
            type(owner).model_fields
            if isinstance(owner, Config)
            else node
            if isinstance(node, dict)
            else {}
        )
        if name not in known:
            raise ConfigError(
                f"--set {dotted}: "
                + _unknown(name, list(known), ".".join(names[:depth]) or "the recipe")
            )
        if depth == len(names) - 1:
            node[name] = value
            return
        node = node[name]
        owner = getattr(owner, name, None) if isinstance(owner, Config) else None


def _read_value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _readable(kind: type[Config], error: ValidationError, where: str) -> str:
    lines = []
    for problem in error.errors():
        path = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            lines.append(_unknown_key(path, kind, where or kind.__name__))
        else:
            lines.append(
                f"{where or kind.__name__}: {path} = {problem.get('input')!r}: {problem['msg']}"
            )
    return "\n".join(lines)


def _unknown_key(path: str, kind: type[Config], where: str) -> str:
    owner: Any = kind
    *parents, name = path.split(".")
    for parent in parents:
        field = owner.model_fields.get(parent) if hasattr(owner, "model_fields") else None
        owner = field.annotation if field is not None else None
    known = list(owner.model_fields) if hasattr(owner, "model_fields") else []
    return _unknown(name, known, ".".join([where, *parents]))


def _unknown(name: str, known: list[str], where: str) -> str:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    advice = (
        f"did you mean {' or '.join(near)}?"
        if near
        else f"known keys: {', '.join(known) or 'none'}"
    )
    return f"{where} has no key {name!r}; {advice}"
