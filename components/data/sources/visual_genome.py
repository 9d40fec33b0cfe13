"""Visual Genome: short descriptions of many regions of an image.

In: <raw>/vg/region_descriptions.json, an array of {id, regions: [{region_id, phrase, x, y, width,
height}]} with boxes in pixels, and image_data.json, an array of {image_id, width, height, url};
images in vg/VG_100K and vg/VG_100K_2, the folder being the one in the URL. Out: one Region per
description, those of an image one after another. Reference:
https://homes.cs.washington.edu/~ranjay/visualgenome/api.html.
"""

from collections.abc import Iterator
from typing import NamedTuple

from components.data.raw.folder import RawPath
from components.data.raw.json_files import read_json_array
from components.data.records import BadRecord, Rejected
from components.data.sources import fields
from components.data.sources.annotations import Region

REGIONS = "region_descriptions.json"
IMAGES = "image_data.json"


class _Image(NamedTuple):
    path: str
    width: int
    height: int


def read(root: RawPath) -> Iterator[Region | Rejected]:
    """Yield the regions in file order; a bad region does not cost the others of its image."""
    folder = root / "vg"
    images = _images(folder / IMAGES)
    path = folder / REGIONS
    seen: set[object] = set()
    for index, row in read_json_array(path):
        try:
            image_id = fields.integer(row, "id")
            image = images.get(image_id)
            if image is None:
                raise BadRecord(f"id {image_id} is not in {IMAGES}, or damaged there")
            regions = fields.items(row, "regions")
            fields.once(seen, "id", image_id)
        except BadRecord as error:
            yield fields.rejected(
                "visual_genome", path, index, fields.identity(row, "id", index), error
            )
            continue
        for region in regions:
            try:
                yield _region(region, image)
            except BadRecord as error:
                name = fields.identity(region, "region_id", index)
                yield fields.rejected("visual_genome", path, index, name, error)


def _images(path: RawPath) -> dict[int, _Image]:
    """Place and size of each image by its id; damaged rows are left out and so missed later."""
    images: dict[int, _Image] = {}
    for _, row in read_json_array(path):
        try:
            folder, name = fields.text(row, "url").split("/")[-2:]
            size = fields.integer(row, "width"), fields.integer(row, "height")
            images[fields.integer(row, "image_id")] = _Image(f"vg/{folder}/{name}", *size)
        except (BadRecord, ValueError):
            continue
    return images


def _region(row: object, image: _Image) -> Region:
    box = fields.square_box(
        [fields.integer(row, name) for name in ("x", "y", "width", "height")],
        image.width,
        image.height,
    )
    phrase = fields.text(row, "phrase").strip()
    return Region(str(fields.integer(row, "region_id")), image.path, phrase, box)
