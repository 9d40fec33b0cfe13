"""Weights tensor by tensor: listed without being read, written into files of bounded size.

In: a folder of safetensors, in one file or several with an index. Out: the same bits under other
names, in at most 5 GB a file. No more than one file's tensors are in memory at a time. What the
names mean is not known here (see `convert_keys`).
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from components.core.errors import CheckpointError
from components.model.weights import INDEX_NAME, SINGLE_NAME, check_weights, read_weight_map

MAX_FILE_BYTES = 5_000_000_000
"""Largest weight file (one larger tensor excepted): the hub's own shards have this size."""
_BYTES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "I16": 2}
"""Bytes of an element by its name in safetensors; 1 for what is not listed."""

Advance = Callable[[int], None]


@dataclass(frozen=True)
class Stored:
    """A tensor in a file, not read yet; of a table perhaps only the rows from `start` to `stop`."""

    path: Path
    key: str
    full_shape: tuple[int, ...]
    dtype: str
    start: int = 0
    stop: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of what is read."""
        if not self.full_shape:
            return ()
        num_rows = self.full_shape[0]
        return (len(range(num_rows)[self.start : self.stop]), *self.full_shape[1:])

    @property
    def num_bytes(self) -> int:
        """Size of what is read."""
        return math.prod(self.shape) * _BYTES.get(self.dtype, 1)

    def rows(self, start: int, stop: int | None = None) -> "Stored":
        """Return a part of the rows."""
        return replace(self, start=start, stop=stop)

    def read(self) -> Tensor:
        """Return the tensor as it lies in the file, bit for bit."""
        with safe_open(self.path, framework="pt") as opened:
            if self.start == 0 and self.stop is None:
                return opened.get_tensor(self.key)
            return opened.get_slice(self.key)[self.start : self.stop]


@dataclass(frozen=True)
class Piece:
    """A tensor to be written: stored rows, perhaps with further ones below them."""

    stored: Stored
    below: Stored | Tensor | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the whole."""
        if self.below is None:
            return self.stored.shape
        return (self.stored.shape[0] + self.below.shape[0], *self.stored.shape[1:])

    @property
    def num_bytes(self) -> int:
        """Size of the whole."""
        return math.prod(self.shape) * _BYTES.get(self.stored.dtype, 1)

    def read(self) -> Tensor:
        """Return the whole tensor, in the stored dtype."""
        above = self.stored.read()
        if self.below is None:
            return above
        below = self.below.read() if isinstance(self.below, Stored) else self.below
        return torch.cat([above, below.to(above.dtype)])


def list_weights(folder: Path) -> dict[str, Stored]:
    """Return every tensor of the folder by its name in the file.

    Raises CheckpointError for a damaged file, an index that does not fit, a name given twice.
    """
    check_weights(folder)
    named = read_weight_map(folder) if (folder / INDEX_NAME).is_file() else {}
    files = sorted(set(named.values())) or sorted(path.name for path in _weight_files(folder))
    weights: dict[str, Stored] = {}
    for file in files:
        for stored in list_file(folder / file):
            if stored.key in weights:
                raise CheckpointError(
                    f"{folder}: {stored.key} is in {weights[stored.key].path.name} and in {file}; "
                    "expected every weight once; remove the file that does not belong here"
                )
            weights[stored.key] = stored
    absent = sorted(set(named) - set(weights))
    if absent:
        raise CheckpointError(
            f"{folder}: {INDEX_NAME} names {absent[0]}, which is not in {named[absent[0]]}; "
            "restore the file or fetch the folder again"
        )
    return weights


def list_file(path: Path) -> Iterator[Stored]:
    """Yield the tensors of one file, none of them read.

    Raises CheckpointError when the file is damaged.
    """
    try:
        with safe_open(path, framework="pt") as opened:
            for key in opened.keys():  # noqa: SIM118 -- safe_open is no mapping
                part = opened.get_slice(key)
                yield Stored(path, key, tuple(part.get_shape()), str(part.get_dtype()))
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path}: the weights are damaged or cut short ({error}); restore the file"
        ) from error


def write_weights(
    folder: Path,
    pieces: Mapping[str, Piece],
    advance: Advance | None = None,
    max_file_bytes: int = MAX_FILE_BYTES,
) -> None:
    """Write the pieces, in their order, as one file or as several with an index."""
    files = _share_out(pieces, max_file_bytes)
    weight_map: dict[str, str] = {}
    for number, names in enumerate(files, 1):
        name = SINGLE_NAME if len(files) == 1 else _numbered(number, len(files))
        write_file(folder / name, {key: pieces[key] for key in names}, advance)
        weight_map.update(dict.fromkeys(names, name))
    if len(files) > 1:
        total = sum(piece.num_bytes for piece in pieces.values())
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
        (folder / INDEX_NAME).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def write_file(path: Path, pieces: Mapping[str, Piece], advance: Advance | None = None) -> None:
    """Write the pieces into one file, which is in memory as a whole meanwhile."""
    tensors = {}
    for name, piece in pieces.items():
        tensors[name] = piece.read().contiguous()
        if advance is not None:
            advance(1)
    try:
        save_file(tensors, path, metadata={"format": "pt"})  # transformers refuses it without
    except SafetensorError as error:
        raise CheckpointError(
            f"{path}: cannot be written ({error}); free some space or choose another target"
        ) from error


def _weight_files(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*.safetensors") if path.is_file()]


def _share_out(pieces: Mapping[str, Piece], max_file_bytes: int) -> list[list[str]]:
    """Return the names for each file, in order, every file as full as it may be."""
    files: list[list[str]] = [[]]
    filled = 0
    for name, piece in pieces.items():
        if files[-1] and filled + piece.num_bytes > max_file_bytes:
            files.append([])
            filled = 0
        files[-1].append(name)
        filled += piece.num_bytes
    return files


def _numbered(number: int, count: int) -> str:
    return f"model-{number:05d}-of-{count:05d}.safetensors"
