"""Typed access to the fields of raw annotation objects, with reasons instead of KeyError.

In: an object out of JSON. Out: the value of a field in the expected type, or BadRecord naming the
field.
"""

from collections.abc import Sequence
from typing import Any

from components.data.raw.folder import RawPath
from components.data.records import BadRecord, Rejected, check_unicode
from components.data.sources.boxes import Box, to_square

_MOST_PIXELS = 1_000_000
_MOST_DIGITS = 18


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
    if (
        isinstance(value, str)
        and value.isascii()
        and value.isdigit()
        and len(value) <= _MOST_DIGITS
    ):
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


def items(row: Any, field: str) -> list[Any]:
    """Return a list field with at least one entry, whatever its entries are."""
    value = _field(row, field)
    if not isinstance(value, list):
        raise BadRecord(f"`{field}` is {type(value).__name__}; expected a list")
    if not value:
        raise BadRecord(f"`{field}` is empty")
    return value


def once(seen: set[object], field: str, value: object) -> None:
    """Remember the id of a good row, or refuse it when a good row had it before."""
    if value in seen:
        raise BadRecord(f"duplicate: a row with `{field}` {value} came before")
    seen.add(value)


def square_box(corners: Sequence[Any], width: int, height: int) -> Box:
    """Return a pixel box (left, top, width, height), cut at its image, on the padded square."""
    if (
        len(corners) != 4
        or not all(isinstance(corner, (int, float)) for corner in corners)
        or not all(abs(corner) < _MOST_PIXELS for corner in corners)  # not even for NaN
        or not 1 <= min(width, height) <= max(width, height) < _MOST_PIXELS
    ):
        raise BadRecord(f"box {list(corners)!r} of a {width} x {height} image")
    left, top, across, down = corners
    # Boxes may reach a little over the edge; what has no part in the image describes nothing.
    cut = Box(max(left, 0), max(top, 0), min(left + across, width), min(top + down, height))
    box = to_square(cut, width, height)
    if box.right <= box.left or box.bottom <= box.top:
        raise BadRecord(f"box {list(corners)!r} holds nothing of a {width} x {height} image")
    return box


def rejected(
    source: str, path: RawPath, index: int, identity: object, error: BadRecord
) -> Rejected:
    """Return the reject entry of a raw row."""
    return Rejected(source, path.name, index, str(identity), error.reason)


def identity(row: Any, field: str, index: int) -> str:
    """Return the row's id for messages, whatever its type; the index where there is none."""
    value = row.get(field) if isinstance(row, dict) else None
    return str(index if value is None else value)


def coco_image(image_id: int) -> str:
    """Return the path of a COCO training image, below the raw folder."""
    return f"coco/train2017/{image_id:012d}.jpg"


def _field(row: Any, field: str) -> Any:
    if not isinstance(row, dict):
        raise BadRecord(f"expected an object, found {type(row).__name__}")
    if field not in row:
        raise BadRecord(f"`{field}` is missing")
    return row[field]
