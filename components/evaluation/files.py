"""Reading of benchmark files: JSON and JSON lines, with the file and the line in every complaint.

In: a path. Out: plain values, checked to be of the expected shape. Nothing here knows a benchmark.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from components.core.errors import DataError


def read_json(path: Path) -> Any:
    """Return the parsed file. Raises DataError when it is missing, unreadable or not JSON."""
    try:
        return json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}:{error.lineno}: not JSON ({error.msg}); fetch or write the file again"
        ) from None


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Return one dict per non-empty line.

    Raises DataError naming the line that is not a JSON object.
    """
    return [row for _, row in located_rows(path)]


def located_rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each non-empty line's place, for messages, and its dict; raises as `read_jsonl`."""
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(
                f"{path}:{number}: not JSON ({error.msg}); fetch or write the file again"
            ) from None
        if not isinstance(row, dict):
            raise DataError(f"{path}:{number}: expected a JSON object, found {type(row).__name__}")
        yield f"{path}:{number}", row


def read_list(path: Path, name: str) -> list[Any]:
    """Return a list that stands in a JSON file's object. Raises DataError when there is none."""
    value = read_json(path)
    rows = value.get(name) if isinstance(value, dict) else None
    if not isinstance(rows, list):
        raise DataError(f"{path}: expected an object with a list {name!r}")
    return rows


def read_prompts(path: Path) -> dict[str, dict[str, Any]]:
    """Return the rows of one of the original's question files by id; none without the file."""
    if not path.exists():
        return {}
    return {str(field(row, "question_id", where)): row for where, row in located_rows(path)}


def field(row: dict[str, Any], name: str, where: str) -> Any:
    """Return row[name], or raise DataError naming the file, the row and the keys it has."""
    if name not in row:
        raise DataError(f"{where}: no {name!r}; this row has {', '.join(sorted(map(str, row)))}")
    return row[name]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise DataError(
            f"{path}: file missing; see the benchmark's module docstring for the layout"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read ({error})") from None
