"""Canaries for private names of other packages: which of them a new version took away."""

import importlib
import inspect
from collections.abc import Mapping, Sequence


def missing(names: Mapping[str, Sequence[str]]) -> list[str]:
    """Return what is gone of `module:dotted.name` -> parameters it must take, one line each."""
    return [problem for name, wanted in names.items() if (problem := _problem(name, wanted))]


def _problem(name: str, wanted: Sequence[str]) -> str:
    module, _, path = name.partition(":")
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        return f"{module} is gone ({error})"
    for part in filter(None, path.split(".")):
        if not hasattr(found, part):
            return f"{name} is gone"
        found = getattr(found, part)
    if not wanted:
        return ""
    lacks = set(wanted) - set(inspect.signature(found).parameters)
    return f"{name} no longer takes {', '.join(sorted(lacks))}" if lacks else ""
