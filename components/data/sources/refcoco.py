"""RefCOCO: expressions that single out one region of a COCO picture.

In: <raw>/refcoco/refs(unc).p (a pickle, of which `plain_pickle` admits plain data only) and
instances.json (COCO boxes as x, y, width, height, and picture sizes). Out: one Region per
expression of the train split, its box on the padded square. Reference:
https://github.com/lichengunc/refer.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from components.core.errors import DataError
from components.data.annotations import Region
from components.data.boxes import Box, to_square
from components.data.json_files import read_json_rows
from components.data.plain_pickle import read_plain_pickle
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
