"""Faults of rows that are conversations in the LLaVA layout; those of the others: `bad_rows.py`."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from components.data.sources import llava, sharegpt
from tests.data.samples import llava_row, put


class Source(NamedTuple):
    read: Callable[[Path], Iterator[Any]]
    files: tuple[str, ...]
    """Its annotation files; the rows are in the first."""
    write: Callable[[Path, list[Any]], None]
    good: Callable[[int], Any]
    bad: dict[str, tuple[Any, str, str]]
    """Name of the fault: the row (or the change to good row 7), its id, and the reason."""


def said(*words: str) -> list[dict[str, str]]:
    """Turns out of roles and texts by turns."""
    pairs = zip(words[::2], words[1::2], strict=True)
    return [{"from": role, "value": text} for role, text in pairs]


LLAVA_BAD: dict[str, tuple[Any, str, str]] = {
    "an array": ([1], "1", "expected an object, found list"),
    "a text": ("row", "1", "expected an object, found str"),
    "no conversations": ({"conversations": None}, "r7", "`conversations` must be a list"),
    "roles out of order": (
        {"conversations": said("human", "<image>\nq", "human", "q", "gpt", "a", "gpt", "b")},
        "r7",
        "turn 1: roles out of order, 'human' where 'gpt' is due",
    ),
    "a wrong type": ({"conversations": [{"from": "human", "value": 1}]}, "r7", "value is int"),
    "an empty answer": (
        {"conversations": llava_row("", "i", "<image>\nq", " ")["conversations"]},
        "r7",
        "turn 1: empty answer",
    ),
    "no image": ({"image": None}, "r7", "1 <image> placeholders but 0 images"),
    "two images": ({"image": ["a.jpg", "b.jpg"]}, "r7", "2 images in one row"),
    "no placeholder": (
        {"conversations": llava_row("", "i", "q", "a")["conversations"]},
        "r7",
        "0 <image> placeholders but 1 images",
    ),
    "two placeholders": (
        {"conversations": llava_row("", "i", "<image><image>q", "a")["conversations"]},
        "r7",
        "2 <image> placeholders but 1 images",
    ),
    "a placeholder too late": (
        {"conversations": llava_row("", "i", "q", "a", "<image>", "b")["conversations"]},
        "r7",
        "in a later question",
    ),
}

LLAVA_SOURCES = {
    "llava_pretrain": Source(
        llava.read_pretrain,
        ("llava_pretrain/blip_laion_cc_sbu_558k.json",),
        lambda root, rows: put(root / "llava_pretrain/blip_laion_cc_sbu_558k.json", rows),
        lambda n: llava_row(f"r{n}", f"0/{n}.jpg", "<image>\nq", f"a{n}"),
        LLAVA_BAD,
    ),
    "llava_instruct": Source(
        llava.read_instruct,
        ("llava_instruct/llava_instruct_150k.json",),
        lambda root, rows: put(root / "llava_instruct/llava_instruct_150k.json", rows),
        lambda n: llava_row(f"r{n}", f"{n}.jpg", "q\n<image>", f"a{n}", "q", "a"),
        LLAVA_BAD,
    ),
    "llava_mix665k": Source(
        llava.read_mix665k,
        (llava.MIX665K,),
        lambda root, rows: put(root / llava.MIX665K, rows),
        lambda n: llava_row(f"r{n}", f"coco/train2017/{n}.jpg", "<image>\nq", f"a{n}"),
        {
            **LLAVA_BAD,
            "a text-only row with a placeholder": (
                {"image": None, "model": ""},
                "r7",
                "1 <image> placeholders but 0 images",
            ),
        },
    ),
    "sharegpt": Source(
        sharegpt.read,
        ("sharegpt/sharegpt_v3.json",),
        lambda root, rows: put(root / "sharegpt/sharegpt_v3.json", rows),
        lambda n: llava_row(f"r{n}", None, "q", f"a{n}"),
        {
            "a text": ("row", "1", "`conversations` must be a list"),
            "no conversations": ({"conversations": {}}, "r7", "`conversations` must be a list"),
            "roles out of order": (
                {"conversations": said("human", "q", "human", "q", "gpt", "a")},
                "r7",
                "turn 1: roles out of order",
            ),
            "a wrong type": (
                {"conversations": [{"from": "human", "value": None}]},
                "r7",
                "expected `from` and `value` as text",
            ),
            "an empty answer": (
                {"conversations": llava_row("", None, "q", "")["conversations"]},
                "r7",
                "turn 1: empty answer",
            ),
        },
    ),
}
