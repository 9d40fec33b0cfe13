"""LLaVA-Instruct: conversations, descriptions and reasoning about COCO pictures.

In: <raw>/llava_instruct/llava_instruct_150k.json, whose image names are those of COCO train2017.
Out: records. Reference: liuhaotian/LLaVA-Instruct-150K.
"""

from collections.abc import Iterator

from components.data.raw.folder import RawPath
from components.data.records import Record, Rejected
from components.data.sources.llava_json import read_file


def read(root: RawPath) -> Iterator[Record | Rejected]:
    """Yield the conversations; a COCO picture may occur several times."""
    return read_file(
        root / "llava_instruct" / "llava_instruct_150k.json", "llava_instruct", "coco/train2017"
    )
