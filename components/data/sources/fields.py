"""Typed access to the fields of raw annotation objects, with reasons instead of KeyError.

In: an object out of JSON. Out: the value of a field in the expected type, or BadRecord naming the
field.
"""

from pathlib import Path
from typing import Any

from components.data.records import BadRecord, Rejected, check_unicode


def text(row: Any, field: str) -> str:
    """Return a text field that is not blank."""
    value = _field(row, field)
    if not isinstance(value, str):
        raise BadRecord(f"`{field}` is {type(value).__name__}; expected text")
    if not value.strip():
        raise BadRecord(f"`{field}` is empty")
    check_unicode(value, f"`{field}`")
    return value


def integer(row: Any, field: str) -> int:
    """Return a whole-number field; digits in a string are accepted."""
    value = _field(row, field)
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise BadRecord(f"`{field}` is {value!r}; expected a whole number")
    return value


def texts(row: Any, field: str) -> tuple[str, ...]:
    """Return a list-of-text field with at least one entry, none blank."""
    value = _field(row, field)
    if not isinstance(value, list) or not value:
        raise BadRecord(f"`{field}` is {type(value).__name__}; expected a list of texts")
    return tuple(text({field: item}, field) for item in value)


def rejected(source: str, path: Path, index: int, identity: object, error: BadRecord) -> Rejected:
    """Return the reject entry of a raw row."""
    return Rejected(source, path.name, index, str(identity), error.reason)


def identity(row: Any, field: str, index: int) -> str:
    """Return the row's id for messages, whatever its type; the index where there is none."""
    value = row.get(field) if isinstance(row, dict) else None
    return str(index if value is None else value)


def coco_image(image_id: int) -> str:
    """Return the path of a COCO training picture, below the raw folder."""
    return f"coco/train2017/{image_id:012d}.jpg"


def _field(row: Any, field: str) -> Any:
    if not isinstance(row, dict):
        raise BadRecord(f"expected an object, found {type(row).__name__}")
    if field not in row:
        raise BadRecord(f"`{field}` is missing")
    return row[field]
