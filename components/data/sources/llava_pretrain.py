"""The 558K captions of the pretrain stage: `blip_laion_cc_sbu_558k.json`, pictures beside it.

In: <raw>/llava_pretrain. Out: two-turn records; the plain template later drops the human text.
Reference: liuhaotian/LLaVA-Pretrain on the hub.
"""

from collections.abc import Iterator

from components.data.raw.folder import RawPath
from components.data.records import Record, Rejected
from components.data.sources.llava_json import read_file


def read(root: RawPath) -> Iterator[Record | Rejected]:
    """Yield the captions."""
    path = root / "llava_pretrain" / "blip_laion_cc_sbu_558k.json"
    return read_file(path, "llava_pretrain", "llava_pretrain/images")
