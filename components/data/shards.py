"""The files of prepared data: rows and images in memory-mapped Arrow IPC shards.

In: encoded rows and image bytes while preparing; a folder while training. Out: shard files, or any
row at once. Arrow IPC (Feather 2) instead of Parquet: a mapped file opens in microseconds, a
single row is reached without decoding its neighbours, ranks on one host share the pages. pandas,
polars and datasets read it too. The bytes are a pure function of the rows.
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
from components.data.tokens import IGNORE_INDEX

ROWS_PER_SHARD = 65_536
ROWS_PER_BATCH = 1_024
IMAGE_BYTES_PER_SHARD = 512 * 1024 * 1024
IMAGE_BYTES_PER_BATCH = 8 * 1024 * 1024

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
IMAGE_SCHEMA = pa.schema([("path", pa.string()), ("bytes", pa.large_binary())])


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


def spans_of(labels: Sequence[int]) -> list[int]:
    """Return the labelled spans of a row as start, end, start, end ..."""
    labelled = np.asarray(labels) != IGNORE_INDEX
    edges = np.flatnonzero(np.diff(np.concatenate(([False], labelled, [False]))))
    return [int(edge) for edge in edges]


class ShardWriter:
    """Writes rows of one schema into numbered shards; use as a context manager."""

    def __init__(
        self, folder: Path, name: str, schema: pa.Schema, weights: tuple[int, int]
    ) -> None:
        self._folder = folder
        self._name = name
        self._schema = schema
        self._batch_weight, self._shard_weight = weights
        self._rows: list[dict[str, Any]] = []
        self._pending = 0
        self._in_shard = 0
        self._writer: Any = None
        self.paths: list[Path] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if error[0] is None:
            self._flush()
        self._close()

    def add(self, row: dict[str, Any], weight: int = 1) -> None:
        """Append a row; `weight` (rows or bytes) decides when a batch and a shard are full."""
        self._rows.append(row)
        self._pending += weight
        if self._pending >= self._batch_weight:
            self._flush()

    def _flush(self) -> None:
        if not self._rows:
            return
        if self._writer is None:
            path = self._folder / f"{self._name}-{len(self.paths):05d}.arrow"
            self.paths.append(path)
            self._writer = pa.ipc.new_file(str(path), self._schema)
        self._writer.write_batch(pa.RecordBatch.from_pylist(self._rows, schema=self._schema))
        self._in_shard += self._pending
        self._rows, self._pending = [], 0
        if self._in_shard >= self._shard_weight:
            self._close()

    def _close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer, self._in_shard = None, 0


def row_writer(folder: Path) -> ShardWriter:
    """Return the writer of sample rows."""
    return ShardWriter(folder, "rows", ROW_SCHEMA, (ROWS_PER_BATCH, ROWS_PER_SHARD))


def image_writer(folder: Path) -> ShardWriter:
    """Return the writer of encoded images; weights are bytes."""
    return ShardWriter(
        folder, "images", IMAGE_SCHEMA, (IMAGE_BYTES_PER_BATCH, IMAGE_BYTES_PER_SHARD)
    )


def digest_of(paths: Sequence[Path]) -> str:
    """Return the sha256 over names and contents of files, in the order given."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            digest.update(
                f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode()
            )
    return digest.hexdigest()


class RowReader:
    """Any row of prepared data at once, from memory-mapped shards."""

    def __init__(self, folder: Path) -> None:
        self._batches = _open_shards(folder, "rows", ROW_SCHEMA)
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
        self._batches = _open_shards(folder, "images", IMAGE_SCHEMA)
        self._starts = _starts(self._batches)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def path(self, index: int) -> str:
        """Return the image's path below the raw folder."""
        number, offset = _locate(self._starts, index)
        return str(self._batches[number].column("path")[offset])

    def encoded(self, index: int) -> bytes | None:
        """Return the encoded image, or None where only its path was kept."""
        number, offset = _locate(self._starts, index)
        value = self._batches[number].column("bytes")[offset].as_py()
        return bytes(value) if value is not None else None


def _open_shards(folder: Path, name: str, schema: pa.Schema) -> list[Any]:
    batches = []
    for path in sorted(folder.glob(f"{name}-*.arrow")):
        try:
            reader = pa.ipc.open_file(pa.memory_map(str(path)))
            if not reader.schema.equals(schema):
                raise ArtifactError(
                    f"{path}: columns {reader.schema.names}; expected {schema.names}; prepare again"
                )
            batches += [reader.get_batch(number) for number in range(reader.num_record_batches)]
        except (pa.ArrowInvalid, OSError) as error:
            raise ArtifactError(
                f"{path}: damaged shard ({error}); prepare the data again"
            ) from None
    return batches


def _starts(batches: Sequence[Any]) -> NDArray[np.int64]:
    return np.concatenate(([0], np.cumsum([batch.num_rows for batch in batches]))).astype(np.int64)


def _locate(starts: NDArray[np.int64], index: int) -> tuple[int, int]:
    if not 0 <= index < starts[-1]:
        raise IndexError(f"row {index} of {starts[-1]}")
    number = int(np.searchsorted(starts, index, side="right")) - 1
    return number, index - int(starts[number])


def _list_views(column: Any) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    return column.values.to_numpy(), column.offsets.to_numpy()
