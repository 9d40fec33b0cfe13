"""Sub-scores of a benchmark as tables with small bars.

In: `details` of `BenchmarkScores`: names such as `random/f1` with numbers. Out: HTML. Where several
groups have the same parts (POPE's splits, MME's subtasks) they become rows and the parts columns;
other names are listed below the heading before their `/`.
"""

from collections.abc import Mapping
from html import escape

OVERALL = ""
"""Heading of names without a `/`."""

# Names that count something; all others are shares or points and get a bar.
_COUNTS = ("num_", "questions", "rows", "pictures", "answers", "subtasks", "failures", "missing")
_SUBTASK_MAXIMUM = 200.0  # MME: accuracy and accuracy+ of a subtask, in percent each


def subscores(details: Mapping[str, float]) -> str:
    """Return the tables; an empty text without details."""
    rows = _matrix(details)
    columns = list(dict.fromkeys(part for parts in rows.values() for part in parts))
    html = _matrix_table(rows, columns, details) if rows else ""
    groups: dict[str, list[tuple[str, float]]] = {}
    for name, value in details.items():
        head, slash, part = name.partition("/")
        if head not in rows:
            groups.setdefault(head if slash else OVERALL, []).append(
                (part if slash else name, value)
            )
    if OVERALL in groups:  # names without a heading first
        groups = {OVERALL: groups.pop(OVERALL), **groups}
    return html + "".join(_list(head, items, details) for head, items in groups.items())


def _matrix(details: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Return row -> column -> value for heads that all have the same two or more parts."""
    parts: dict[str, dict[str, float]] = {}
    for name, value in details.items():
        head, slash, part = name.partition("/")
        if slash:
            parts.setdefault(head, {})[part] = value
    shapes = [tuple(each) for each in parts.values()]
    alike = {
        head: each
        for head, each in parts.items()
        if len(each) > 1 and shapes.count(tuple(each)) > 1
    }
    return {
        head: ({"points": details[head]} if head in details else {}) | each
        for head, each in alike.items()
    }


def _matrix_table(
    rows: Mapping[str, Mapping[str, float]], columns: list[str], details: Mapping[str, float]
) -> str:
    head = "".join(f'<th scope="col">{_words(column)}</th>' for column in columns)
    body = []
    for name, cells in rows.items():
        shown = "".join(
            _cell(name if column == "points" else f"{name}/{column}", cells[column], details)
            if column in cells
            else "<td>-</td>"
            for column in columns
        )
        body.append(f'<tr><th scope="row">{_words(name)}</th>{shown}</tr>')
    return (
        f'<div class="scroll" tabindex="0"><table class="matrix"><thead><tr><td></td>{head}</tr>'
        f"</thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def _list(head: str, items: list[tuple[str, float]], details: Mapping[str, float]) -> str:
    lines = []
    for part, value in items:
        name = f"{head}/{part}" if head else part
        top = _top(name, details)
        bar = "" if top is None else _bar(value, top)
        shown = f"{value:,.0f}" if top is None else f"{value:,.1f}"
        lines.append(
            f'<span class="name">{_words(part)}</span><span>{bar}</span>'
            f'<span class="count">{shown}</span>'
        )
    heading = f"<h4>{_words(head)}</h4>" if head else ""
    return f'<div class="sublist">{heading}<div class="bars">{"".join(lines)}</div></div>'


def _cell(name: str, value: float, details: Mapping[str, float]) -> str:
    top = _top(name, details)
    if top is None:
        return f"<td>{value:,.0f}</td>"
    return f"<td>{value:,.1f}{_bar(value, top)}</td>"


def _top(name: str, details: Mapping[str, float]) -> float | None:
    """Return the value that fills the bar; None for a count."""
    if f"{name}_subtasks" in details:
        return _SUBTASK_MAXIMUM * max(1.0, details[f"{name}_subtasks"])
    if f"{name}/accuracy_plus" in details:
        return _SUBTASK_MAXIMUM
    last = name.rsplit("/", 1)[-1]
    counts = last.startswith(_COUNTS[0]) or any(last.endswith(each) for each in _COUNTS[1:])
    counts = counts or "_neither_" in last or last.startswith("pictures_")
    return None if counts or not 0.0 <= details.get(name, 0.0) <= 100.0 else 100.0


def _bar(value: float, top: float) -> str:
    width = min(100.0, max(0.0, 100.0 * value / top))
    return f'<i class="track"><i class="fill" style="width:{width:.1f}%"></i></i>'


def _words(name: str) -> str:
    return escape(name.replace("_", " "))
