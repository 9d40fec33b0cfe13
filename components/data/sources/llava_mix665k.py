"""The released mixture of the finetune stage: `llava_v1_5_mix665k.json`, ready to be trained on.

In: <raw>/llava_v1_5_mix665k.json in the LLaVA JSON format, image paths relative to the raw folder;
rows without image are text only. Out: records. Stands in for all the sources of the mixture, whose
rows it already holds. Reference: liuhaotian/LLaVA-Instruct-150K on the hub.
"""

from collections.abc import Iterator

from components.data.raw.folder import RawPath
from components.data.records import Record, Rejected
from components.data.sources.llava_json import read_file

FILE = "llava_v1_5_mix665k.json"


def read(root: RawPath) -> Iterator[Record | Rejected]:
    """Yield the conversations in file order."""
    return read_file(root / FILE, "llava_mix665k", "")
