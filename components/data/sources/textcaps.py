"""TextCaps: captions that take in the text of an image.

In: <raw>/textcaps/TextCaps_0.1_train.json, {"data": [{image_id, caption_str, ...}]} with one entry
per caption; images in textvqa/train_images. Out: one Caption per entry. Reference:
https://textvqa.org/textcaps/.
"""

from collections.abc import Iterator

from components.data.raw.folder import RawPath
from components.data.raw.json_files import read_json_rows
from components.data.records import BadRecord, Rejected
from components.data.sources import fields
from components.data.sources.annotations import Caption


def read(root: RawPath) -> Iterator[Caption | Rejected]:
    """Yield the captions in file order, several per image."""
    path = root / "textcaps" / "TextCaps_0.1_train.json"
    for index, row in read_json_rows(path, "data"):
        try:
            image_id = fields.text(row, "image_id")
            image = f"textvqa/train_images/{image_id}.jpg"
            yield Caption(image_id, image, fields.text(row, "caption_str"))
        except BadRecord as error:
            yield fields.rejected(
                "textcaps", path, index, fields.identity(row, "image_id", index), error
            )
