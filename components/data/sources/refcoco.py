"""RefCOCO: expressions that single out one region of a COCO image.

In: <raw>/refcoco/refs(unc).p (a pickle, of which `plain_pickle` admits plain data only) and
instances.json (COCO boxes as x, y, width, height, and image sizes). Out: one Region per
expression of the train split, its box on the padded square. Reference:
https://github.com/lichengunc/refer.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from components.core.errors import DataError
from components.data.raw.folder import RawPath
from components.data.raw.json_files import read_json_rows
from components.data.raw.plain_pickle import read_plain_pickle
from components.data.records import BadRecord, Rejected
from components.data.sources import fields
from components.data.sources.annotations import Region
from components.data.sources.boxes import Box

REFS = "refs(unc).p"
_PREFIX = "COCO_train2014_"


def read(root: RawPath) -> Iterator[Region | Rejected]:
    """Yield the expressions of the training split in file order.

    A reference that cannot be placed is rejected whole; a bad expression by itself.
    """
    instances_path = root / "refcoco" / "instances.json"
    boxes = _by_id(read_json_rows(instances_path, "annotations"), "bbox")
    images = _by_id(read_json_rows(instances_path, "images"), "file_name", "width", "height")
    path = root / "refcoco" / REFS
    refs = read_plain_pickle(path)
    if not isinstance(refs, list):
        raise DataError(f"{path}: expected a list of references; is it the official file?")
    seen: set[object] = set()
    for index, ref in enumerate(refs):
        if isinstance(ref, dict) and ref.get("split", "train") != "train":
            continue
        name = fields.identity(ref, "ref_id", index)
        try:
            image, box = _place(ref, boxes, images)
            sentences = fields.items(ref, "sentences")
            fields.once(seen, "ref_id", fields.integer(ref, "ref_id"))
        except BadRecord as error:
            yield fields.rejected("refcoco", path, index, name, error)
            continue
        for sentence in sentences:
            try:
                yield Region(name, image, fields.text(sentence, "sent").strip(), box)
            except BadRecord as error:
                yield fields.rejected("refcoco", path, index, name, error)


def _by_id(rows: Iterable[tuple[int, Any]], *kept: str) -> dict[int, Any]:
    """Rows by their id, with the fields that are needed; segmentations are far larger."""
    return {
        row["id"]: {field: row[field] for field in kept if field in row}
        for _, row in rows
        if isinstance(row, dict) and isinstance(row.get("id"), int)
    }


def _place(ref: Any, boxes: dict[int, Any], images: dict[int, Any]) -> tuple[str, Box]:
    """The image of a reference and the box in it."""
    annotation = boxes.get(fields.integer(ref, "ann_id"))
    image = images.get(fields.integer(ref, "image_id"))
    if annotation is None or image is None:
        raise BadRecord(
            f"{'ann_id' if annotation is None else 'image_id'} is not in instances.json"
        )
    box = fields.square_box(
        fields.items(annotation, "bbox"),
        fields.integer(image, "width"),
        fields.integer(image, "height"),
    )
    return "coco/train2017/" + fields.text(image, "file_name").removeprefix(_PREFIX), box
