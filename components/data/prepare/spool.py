"""Parsed rows on their way from the readers to the encoders, in files of some thousand rows.

In: the records and rejects of one part of the mixture. Out: Arrow files with a row for each of
them, and one with the part's distinct images, in a work folder; later the same rows again. So
reading is done once, encoding can be shared out and taken up again, and nobody holds a large file.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from components.data.config import READY_SOURCES
from components.data.prepare.work_folder import WorkFolder
from components.data.records import Record, Rejected, Turn
from components.data.shards import ShardFile, open_shard

ROWS_PER_FILE = 8_192
CHARACTERS_PER_FILE = 64 << 20
_ROWS_PER_BATCH = 1_024
_BYTES_PER_BATCH = 8 << 20

ROW_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("file", pa.string()),
        ("index", pa.int64()),
        ("texts", pa.list_(pa.string())),  # human, gpt, human ...; null for a rejected row
        ("image", pa.string()),
        ("image_number", pa.int32()),  # number in the part's images, -1 without one
        ("key", pa.uint64()),  # equal for equal rows; 0 where a repetition is meant
        ("reason", pa.string()),  # why the row is rejected, null for a good one
    ]
)
SPOOLED_IMAGE_SCHEMA = pa.schema([("path", pa.string()), ("bytes", pa.large_binary())])


@dataclass(frozen=True)
class Spooled:
    """What one part of the mixture left in the work folder."""

    files: list[str] = field(default_factory=list)
    """Row files, in order."""
    num_rows: list[int] = field(default_factory=list)
    """Rows of each, rejected ones among them."""
    images: str = ""
    """File of the distinct images; empty where no row has one."""
    num_rejected: int = 0


@dataclass(frozen=True)
class Columns:
    """What the driver must know of a row file."""

    image_number: NDArray[np.int32]
    key: NDArray[np.uint64]
    good: NDArray[np.bool_]


def spool(rows: Iterable[Record | Rejected], work: WorkFolder, name: str) -> Spooled:
    """Write all rows below `name` in the work folder and return where they are."""
    spooled = Spooled(images=f"{name}-images.arrow")
    numbers: dict[str, int] = {}
    rejected = 0
    batch: list[Record | Rejected] = []
    characters = 0

    def flush() -> None:
        file = f"{name}-{len(spooled.files):05d}.arrow"
        with work.writing(file) as path, ShardFile(path, ROW_SCHEMA, _ROWS_PER_BATCH) as rows_out:
            for row in batch:
                rows_out.add(_plain(row, numbers))
        spooled.files.append(file)
        spooled.num_rows.append(len(batch))

    with (
        work.writing(spooled.images) as path,
        ShardFile(path, SPOOLED_IMAGE_SCHEMA, _BYTES_PER_BATCH) as images,
    ):
        for row in rows:
            if isinstance(row, Rejected):
                rejected += 1
            else:
                characters += sum(len(turn.text) for turn in row.turns)
                if row.image is not None and row.image not in numbers:
                    numbers[row.image] = len(numbers)
                    size = len(row.image) + len(row.image_bytes or b"")
                    images.add({"path": row.image, "bytes": row.image_bytes}, size)
                if row.image_bytes is not None:
                    # It is written; thousands of rows wait here, and must not hold their images.
                    row = replace(row, image_bytes=None)
            batch.append(row)
            if len(batch) == ROWS_PER_FILE or characters > CHARACTERS_PER_FILE:
                flush()
                batch, characters = [], 0
        if batch:
            flush()
    return Spooled(spooled.files, spooled.num_rows, spooled.images if numbers else "", rejected)


def read_columns(path: Path) -> Columns:
    """Return the columns of a row file that say which rows and images there are."""
    table = pa.Table.from_batches(open_shard(path, ROW_SCHEMA), ROW_SCHEMA)
    return Columns(
        image_number=table.column("image_number").to_numpy(),
        key=table.column("key").to_numpy(),
        good=table.column("reason").is_null().to_numpy(),
    )


def read_rows(path: Path) -> Iterator[list[Record | Rejected]]:
    """Yield the rows of a file again, in lists of some hundred; images inside are left out."""
    for batch in open_shard(path, ROW_SCHEMA):
        for start in range(0, batch.num_rows, 256):
            yield [_parsed(row) for row in batch.slice(start, 256).to_pylist()]


def read_spooled_images(
    path: Path, places: Sequence[int] | None = None
) -> Iterator[tuple[str, bytes | None]]:
    """Yield (path, None), or (name, bytes) of an image that an annotation file holds.

    With `places`, ascending, only those images.
    """
    wanted = None if places is None else iter(places)
    following = None if wanted is None else next(wanted, None)
    first = 0
    for batch in open_shard(path, SPOOLED_IMAGE_SCHEMA):
        for number in range(batch.num_rows):
            if wanted is not None and first + number != following:
                continue
            yield batch.column("path")[number].as_py(), batch.column("bytes")[number].as_py()
            following = None if wanted is None else next(wanted, None)
        first += batch.num_rows


def printable(text: str) -> str:
    """Return the text with bytes that were no UTF-8 written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def _plain(row: Record | Rejected, numbers: dict[str, int]) -> dict[str, object]:
    named = {
        "id": printable(row.id),
        "source": printable(row.source),
        "file": printable(row.file),
        "index": row.index,
    }
    if isinstance(row, Rejected):
        return {
            **named, "texts": None, "image": None, "image_number": -1, "key": 0,
            "reason": printable(row.reason),
        }  # fmt: skip
    texts = [turn.text for turn in row.turns]
    return {
        **named,
        "texts": texts,
        "image": row.image,
        "image_number": -1 if row.image is None else numbers[row.image],
        "key": 0 if row.source in READY_SOURCES else row.key,
        "reason": None,
    }


def _parsed(row: dict[str, Any]) -> Record | Rejected:
    name, source, file = str(row["id"]), str(row["source"]), str(row["file"])
    index = int(row["index"])
    if row["reason"] is not None:
        return Rejected(source, file, index, name, str(row["reason"]))
    texts: list[str] = row["texts"]
    # The records' turns alternate, human first: `check_turns` saw to it.
    turns = tuple(Turn("gpt" if place % 2 else "human", text) for place, text in enumerate(texts))
    image = row["image"]
    return Record(name, turns, None if image is None else str(image), source, file, index)
