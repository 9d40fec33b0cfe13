"""The files of prepared data: rows and images in memory-mapped Arrow IPC shards, and a record.

In: encoded rows and images while preparing; a folder while training. Out: shard files, or any row
at once. Arrow IPC (Feather 2) instead of Parquet: a mapped file opens in microseconds, a single row
is reached without decoding its neighbours, ranks on one host share the pages. pandas, polars and
datasets read it too. The bytes are a pure function of the rows.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from components.core.errors import ArtifactError
from components.data.config import PreparedData
from components.data.tokens import IGNORE_INDEX

RECORD_FILE = "prepared.json"
"""The record that lies beside the shards, for whoever trains on them."""

ROWS_PER_BATCH = 1_024
IMAGE_BYTES_PER_BATCH = 8 * 1024 * 1024

ROWS, VALIDATION, IMAGES = "rows", "validation", "images"
"""Names of the shards: training rows, held-out rows, and the images of both."""

ROW_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("input_ids", pa.list_(pa.int32())),  # one image token per image
        ("supervised", pa.list_(pa.int32())),  # start, end, start, end ... of the labelled spans
        ("image", pa.string()),  # path below the raw folder, null for text-only rows
        ("image_index", pa.int32()),  # row in the image shards, -1 without image
        ("num_tokens", pa.int32()),  # positions, image patches included
        ("num_supervised", pa.int32()),
    ]
)
IMAGE_SCHEMA = pa.schema(
    [
        ("path", pa.string()),  # below the raw folder, as annotation files have it
        ("bytes", pa.large_binary()),  # the encoded image, null where it stayed in the raw folder
        ("file", pa.string()),  # the container it lies in there, null for a file of its own
        ("offset", pa.int64()),  # first byte in the container
        ("length", pa.int64()),  # bytes there
    ]
)


@dataclass(frozen=True, slots=True)
class PreparedRow:
    """One sample as it lies in a shard."""

    id: str
    source: str
    input_ids: NDArray[np.int32]
    labels: NDArray[np.int32]
    image: str | None
    image_index: int
    num_tokens: int


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image as it lies in a shard: encoded, or where it lies below the raw folder."""

    path: str
    encoded: bytes | None
    file: str | None
    offset: int
    length: int


def spans_of(labels: Sequence[int]) -> list[int]:
    """Return the labelled spans of a row as start, end, start, end ..."""
    labelled = np.asarray(labels) != IGNORE_INDEX
    edges = np.flatnonzero(np.diff(np.concatenate(([False], labelled, [False]))))
    return [int(edge) for edge in edges]


def shard_name(kind: str, number: int) -> str:
    """Return the file name of a shard; names in order are shards in order."""
    return f"{kind}-{number:05d}.arrow"


class ShardFile:
    """Writes rows of one schema into one file, batch by batch; use as a context manager.

    A file without rows is not made.
    """

    def __init__(self, path: Path, schema: pa.Schema, batch_weight: int) -> None:
        self._path = path
        self._schema = schema
        self._batch_weight = batch_weight
        self._rows: list[dict[str, Any]] = []
        self._pending = 0
        self._writer: Any = None
        self.num_rows = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is None:
            self._flush()
        if self._writer is not None:
            self._writer.close()

    def add(self, row: dict[str, Any], weight: int = 1) -> None:
        """Append a row; `weight` (rows or bytes) decides when a batch is full."""
        self._rows.append(row)
        self.num_rows += 1
        self._pending += weight
        if self._pending >= self._batch_weight:
            self._flush()

    def _flush(self) -> None:
        if not self._rows:
            return
        if self._writer is None:
            self._writer = pa.ipc.new_file(str(self._path), self._schema)
        columns = [_column([row[f.name] for row in self._rows], f.type) for f in self._schema]
        self._writer.write_batch(pa.record_batch(columns, schema=self._schema))
        self._rows, self._pending = [], 0


def digest_of_digests(files: Sequence[tuple[str, str]]) -> str:
    """Return the sha256 over (name, sha256) of files, in the order given."""
    digest = hashlib.sha256()
    for name, content in files:
        digest.update(f"{name} {content}\n".encode())
    return digest.hexdigest()


class RowReader:
    """Any row of prepared data at once, from memory-mapped shards."""

    def __init__(self, folder: Path, kind: str = ROWS) -> None:
        """`kind` is ROWS for what is trained on, VALIDATION for what is held out."""
        self._batches = _open_shards(folder, kind, ROW_SCHEMA)
        self._starts = _starts(self._batches)
        self._lists = [
            (_list_views(batch.column("input_ids")), _list_views(batch.column("supervised")))
            for batch in self._batches
        ]
        self.num_tokens = self._column("num_tokens")
        self.num_supervised = self._column("num_supervised")
        self.image_indices = self._column("image_index")

    def __len__(self) -> int:
        return int(self._starts[-1])

    def row(self, index: int) -> PreparedRow:
        """Return a row; its arrays are copies."""
        number, offset = _locate(self._starts, index)
        batch = self._batches[number]
        (ids, id_offsets), (spans, span_offsets) = self._lists[number]
        input_ids = ids[id_offsets[offset] : id_offsets[offset + 1]].copy()
        edges = spans[span_offsets[offset] : span_offsets[offset + 1]]
        labels = np.full(len(input_ids), IGNORE_INDEX, dtype=np.int32)
        for start, end in zip(edges[::2], edges[1::2], strict=True):
            labels[start:end] = input_ids[start:end]
        return PreparedRow(
            id=batch.column("id")[offset].as_py(),
            source=batch.column("source")[offset].as_py(),
            input_ids=input_ids,
            labels=labels,
            image=batch.column("image")[offset].as_py(),
            image_index=int(self.image_indices[index]),
            num_tokens=int(self.num_tokens[index]),
        )

    def _column(self, name: str) -> NDArray[np.int32]:
        columns = [batch.column(name).to_numpy(zero_copy_only=False) for batch in self._batches]
        return np.concatenate(columns) if columns else np.zeros(0, dtype=np.int32)


class ImageReader:
    """Any encoded image at once, from memory-mapped shards."""

    def __init__(self, folder: Path) -> None:
        self._batches = _open_shards(folder, IMAGES, IMAGE_SCHEMA)
        self._starts = _starts(self._batches)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def image(self, index: int) -> StoredImage:
        """Return the image; its bytes are a copy."""
        number, place = _locate(self._starts, index)
        batch = self._batches[number]
        path, encoded, file, offset, length = (
            batch.column(name)[place].as_py() for name in IMAGE_SCHEMA.names
        )
        return StoredImage(path, encoded, file, offset, length)


def write_prepared(folder: Path, prepared: PreparedData) -> None:
    """Write the record; the last file of a prepared folder."""
    text = prepared.model_dump_json(indent=1) + "\n"
    (folder / RECORD_FILE).write_text(text, encoding="utf-8")


def read_prepared(folder: Path | str) -> PreparedData:
    """Return the record of a prepared folder. Raises ArtifactError where there is none."""
    path = Path(folder) / RECORD_FILE
    try:
        return PreparedData.model_validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path}: not prepared data ({error}); run prepare first") from None


def open_shard(path: Path, schema: pa.Schema) -> list[Any]:
    """Return the record batches of a shard, mapped. Raises ArtifactError for a damaged one."""
    try:
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        if not reader.schema.equals(schema):
            raise ArtifactError(
                f"{path}: columns {reader.schema.names}; expected {schema.names}; prepare again"
            )
        return [reader.get_batch(number) for number in range(reader.num_record_batches)]
    except (pa.ArrowInvalid, OSError) as error:
        raise ArtifactError(f"{path}: damaged shard ({error}); prepare the data again") from None


def _open_shards(folder: Path, kind: str, schema: pa.Schema) -> list[Any]:
    paths = sorted(folder.glob(f"{kind}-*.arrow"))
    return [batch for path in paths for batch in open_shard(path, schema)]


def _column(values: list[Any], kind: pa.DataType) -> pa.Array:
    """Return an Arrow column; lists of numbers by way of numpy, ten times as fast."""
    if not pa.types.is_list(kind) or not pa.types.is_integer(kind.value_type):
        return pa.array(values, kind)
    offsets = np.zeros(len(values) + 1, dtype=np.int32)
    np.cumsum([len(value) for value in values], out=offsets[1:])
    flat = np.fromiter((one for value in values for one in value), np.int32, int(offsets[-1]))
    return pa.ListArray.from_arrays(offsets, flat)


def _starts(batches: Sequence[Any]) -> NDArray[np.int64]:
    return np.concatenate(([0], np.cumsum([batch.num_rows for batch in batches]))).astype(np.int64)


def _locate(starts: NDArray[np.int64], index: int) -> tuple[int, int]:
    if not 0 <= index < starts[-1]:
        raise IndexError(f"row {index} of {starts[-1]}")
    number = int(np.searchsorted(starts, index, side="right")) - 1
    return number, index - int(starts[number])


def _list_views(column: Any) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    return column.values.to_numpy(), column.offsets.to_numpy()
