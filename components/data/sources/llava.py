"""LLaVA's own files and the house's groceries, all in the LLaVA JSON format.

In: an array of {id, image, conversations} below the raw folder. Out: records and rejected rows,
streamed in file order. Reference: docs/Finetune_Custom_Data.md of haotian-liu/LLaVA,
liuhaotian/LLaVA-Pretrain and liuhaotian/LLaVA-Instruct-150K.
"""

from collections.abc import Iterator

from components.data.raw.folder import RawPath
from components.data.raw.json_files import read_json_array
from components.data.records import BadRecord, Record, Rejected, parse_record, record_id

PRETRAIN = "llava_pretrain/blip_laion_cc_sbu_558k.json"
INSTRUCT = "llava_instruct/llava_instruct_150k.json"
MIX665K = "llava_v1_5_mix665k.json"
GROCERY = "grocery/grocery_train.json"
COCO = "coco/train2017"


def read_pretrain(root: RawPath) -> Iterator[Record | Rejected]:
    """Yield the 558K captions of the pretrain stage; their template later drops the human text."""
    return _read(root / PRETRAIN, "llava_pretrain", "llava_pretrain/images")


def read_instruct(root: RawPath) -> Iterator[Record | Rejected]:
    """Yield LLaVA-Instruct; a COCO image may occur several times."""
    return _read(root / INSTRUCT, "llava_instruct", COCO)


def read_mix665k(root: RawPath) -> Iterator[Record | Rejected]:
    """Yield the released mixture of the finetune stage, which stands in for all its sources.

    Image paths are relative to the raw folder; rows without image are text only.
    """
    return _read(root / MIX665K, "llava_mix665k", "")


def read_grocery(root: RawPath) -> Iterator[Record | Rejected]:
    """Yield the house's own instruction: list the fruit of a grocery image as JSON."""
    return _read(root / GROCERY, "grocery", COCO)


def _read(path: RawPath, source: str, image_folder: str) -> Iterator[Record | Rejected]:
    for index, raw in read_json_array(path):
        try:
            yield parse_record(raw, source, image_folder, path.name, index)
        except BadRecord as error:
            yield Rejected(source, path.name, index, record_id(raw, index), error.reason)
