"""RefCOCO: expressions that single out one region of a COCO picture.

In: <raw>/refcoco/refs(unc).p (a pickle, read by a reader that admits plain data only) and
instances.json (COCO boxes as x, y, width, height, and picture sizes). Out: one Region per
expression of the train split, its box on the padded square. Reference:
https://github.com/lichengunc/refer.
"""

import pickle
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from components.core.errors import DataError
from components.data.annotations import Region
from components.data.boxes import Box, to_square
from components.data.json_files import read_json_rows
from components.data.records import BadRecord, Rejected
from components.data.sources import fields

REFS = "refs(unc).p"
_PREFIX = "COCO_train2014_"


def read(root: Path) -> Iterator[Region | Rejected]:
    """Yield the expressions of the training split in file order."""
    instances_path = root / "refcoco" / "instances.json"
    boxes = _by_id(read_json_rows(instances_path, "annotations"), "bbox")
    images = _by_id(read_json_rows(instances_path, "images"), "file_name", "width", "height")
    path = root / "refcoco" / REFS
    refs = read_plain_pickle(path)
    if not isinstance(refs, list):
        raise DataError(f"{path}: expected a list of references; is it the official file?")
    for index, ref in enumerate(refs):
        if isinstance(ref, dict) and ref.get("split", "train") != "train":
            continue
        try:
            yield from _regions(ref, boxes, images)
        except BadRecord as error:
            yield fields.rejected(
                "refcoco", path, index, fields.identity(ref, "ref_id", index), error
            )


def read_plain_pickle(path: Path) -> Any:
    """Return the plain data (lists, dicts, numbers, texts) of a pickle, or DataError."""
    try:
        with path.open("rb") as file:
            # The official files were written by Python 2, whose texts are bytes.
            return _PlainUnpickler(file, encoding="utf-8", errors="replace").load()
    except FileNotFoundError:
        raise DataError(
            f"{path}: no such annotation file; fetch it, or leave refcoco out of `sources`"
        ) from None
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except (
        pickle.UnpicklingError,
        EOFError,
        ValueError,
        IndexError,
        KeyError,
        TypeError,
        OSError,
        OverflowError,
        AttributeError,
        MemoryError,
    ) as error:
        # A damaged pickle fails with any of these.
        raise DataError(
            f"{path}: not a readable pickle ({error or type(error).__name__}); fetch it again"
        ) from None


class _PlainUnpickler(pickle.Unpickler):
    """Refuses every global, so that a pickle can build data but run nothing."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise DataError(
            f"asks for {module}.{name}, but only plain data is admitted; do not trust this file"
        )

    def persistent_load(self, pid: Any) -> NoReturn:
        raise DataError("asks for an outside object, but only plain data is admitted")


def _by_id(rows: Iterable[tuple[int, Any]], *kept: str) -> dict[int, Any]:
    """Rows by their id, with the fields that are needed; segmentations are far larger."""
    return {
        row["id"]: {field: row[field] for field in kept if field in row}
        for _, row in rows
        if isinstance(row, dict) and isinstance(row.get("id"), int)
    }


def _regions(ref: Any, boxes: dict[int, Any], images: dict[int, Any]) -> list[Region]:
    annotation = boxes.get(fields.integer(ref, "ann_id"))
    image = images.get(fields.integer(ref, "image_id"))
    if annotation is None or image is None:
        raise BadRecord(
            f"{'ann_id' if annotation is None else 'image_id'} is not in instances.json"
        )
    width, height = fields.integer(image, "width"), fields.integer(image, "height")
    corners = annotation.get("bbox")
    if (
        not isinstance(corners, list)
        or len(corners) != 4
        or not all(isinstance(corner, (int, float)) for corner in corners)
        or min(width, height) < 1
    ):
        raise BadRecord(f"bbox {corners!r} of a {width} x {height} picture")
    left, top, across, down = corners
    box = to_square(Box(left, top, left + across, top + down), width, height)
    name = "coco/train2017/" + fields.text(image, "file_name").removeprefix(_PREFIX)
    sentences = ref.get("sentences")
    if not isinstance(sentences, list) or not sentences:
        raise BadRecord("`sentences` must be a list of at least one expression")
    identity = str(fields.integer(ref, "ref_id"))
    return [Region(identity, name, fields.text(row, "sent").strip(), box) for row in sentences]
