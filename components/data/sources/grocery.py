"""The house's own instruction: list the fruit of a grocery picture as JSON.

In: <raw>/grocery/grocery_train.json in the LLaVA JSON format, pictures in coco/train2017. Out:
records.
"""

from collections.abc import Iterator

from components.data.raw.folder import RawPath
from components.data.records import Record, Rejected
from components.data.sources.llava_json import read_file

FILE = "grocery/grocery_train.json"


def read(root: RawPath) -> Iterator[Record | Rejected]:
    """Yield the grocery conversations."""
    return read_file(root / FILE, "grocery", "coco/train2017")
