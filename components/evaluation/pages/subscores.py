"""Sub-scores of a benchmark as tables with small bars.

In: `details` of `BenchmarkScores`: names such as `random/f1` with numbers. Out: the facts of
`subscores.html`. Where several groups have the same parts (POPE's splits, MME's subtasks) they
become rows and the parts columns; other names are listed below the heading before their `/`.
"""

from collections.abc import Mapping
from dataclasses import dataclass

# Names that count something; all others are shares or points and get a bar.
_COUNTS = ("num_", "questions", "rows", "pictures", "answers", "subtasks", "failures", "missing")
_SUBTASK_MAXIMUM = 200.0  # MME: accuracy and accuracy+ of a subtask, in percent each


@dataclass(frozen=True)
class SubScore:
    text: str
    width: float | None
    """Of the bar, in percent; None for a count, which has no bar."""


@dataclass(frozen=True)
class SubScores:
    columns: list[str]
    rows: dict[str, dict[str, SubScore]]
    """Groups with the same parts: group -> part."""
    groups: dict[str, dict[str, SubScore]]
    """All others: heading -> name; the heading of names without a `/` is empty and comes first."""


def subscores(details: Mapping[str, float]) -> SubScores:
    """Return the sub-scores as they are shown."""
    parts: dict[str, dict[str, SubScore]] = {}
    for name in details:
        head, slash, part = name.partition("/")
        if slash:
            parts.setdefault(head, {})[part] = _score(name, details)
    shapes = [tuple(each) for each in parts.values()]
    rows = {
        head: ({"points": _score(head, details)} if head in details else {}) | each
        for head, each in parts.items()
        if len(each) > 1 and shapes.count(tuple(each)) > 1
    }
    plain = {
        name: _score(name, details) for name in details if "/" not in name and name not in rows
    }
    groups = {"": plain} if plain else {}
    return SubScores(
        list(dict.fromkeys(part for row in rows.values() for part in row)),
        rows,
        groups | {head: each for head, each in parts.items() if head not in rows},
    )


def _score(name: str, details: Mapping[str, float]) -> SubScore:
    value, top = details[name], _top(name, details)
    if top is None:
        return SubScore(f"{value:,.0f}", None)
    return SubScore(f"{value:,.1f}", min(100.0, max(0.0, 100.0 * value / top)))


def _top(name: str, details: Mapping[str, float]) -> float | None:
    """Return the value that fills the bar; None for a count."""
    if f"{name}_subtasks" in details:
        return _SUBTASK_MAXIMUM * max(1.0, details[f"{name}_subtasks"])
    if f"{name}/accuracy_plus" in details:
        return _SUBTASK_MAXIMUM
    last = name.rsplit("/", 1)[-1]
    counts = last.startswith(_COUNTS[0]) or last.endswith(_COUNTS[1:])
    counts = counts or "_neither_" in last or last.startswith("pictures_")
    return None if counts or not 0.0 <= details[name] <= 100.0 else 100.0
