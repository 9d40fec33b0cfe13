"""Images packed into tar or Parquet files that stand for a folder of the raw folder.

    coco/train2017.tar                    in place of coco/train2017/
    llava_pretrain/images-00000.tar ...   in place of llava_pretrain/images/, numbered shards
    gqa/images.parquet                    a column with paths, one with the encoded images

In: folders that annotation files name. Out: the files that stand for them, and where each image
lies in such a file. A member is named relative to the folder it stands for, with the folder's own
name before it, or by its whole path. Reads no image. References: WebDataset's tar shards; the
image data sets of the Hugging Face hub (a struct of `bytes` and `path`).
"""

import logging
import re
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from components.core.errors import DataError
from components.data.raw.folder import RawPath, names_in, open_binary

log = logging.getLogger(__name__)

_NUMBERED = r"([-_.]\d+(-of-\d+)?)?\.(tar|parquet)"
_PATH_COLUMNS = ("path", "file_name", "filename", "image_path", "name")
_IMAGE_COLUMNS = ("image", "bytes", "image_bytes", "jpg", "png")
_ROWS_PER_BATCH = 256


@dataclass(frozen=True, slots=True)
class Place:
    """Where an encoded image lies: bytes of a file below the raw folder, or a Parquet row."""

    file: str
    offset: int = 0
    length: int = -1
    """Bytes from the offset on; -1 for all of the file."""
    row: int = -1
    """Row of a Parquet file, which has no bytes of its own to point at."""


@dataclass(frozen=True, slots=True)
class Container:
    """A file that stands for a folder; both are paths below the raw folder."""

    folder: str
    file: str


def find_containers(root: RawPath, folders: Iterable[str]) -> list[Container]:
    """Return the containers of the folders and of those above them, in order of their names."""
    wanted: dict[str, set[str]] = {}
    for folder in folders:
        parts = PurePosixPath(folder).parts
        if ".." in parts or folder.startswith("/") or "\x00" in folder:
            continue
        for depth in range(len(parts)):
            wanted.setdefault("/".join(parts[:depth]), set()).add(parts[depth])
    found = []
    for parent, names in wanted.items():
        files = names_in(root / parent if parent else root)
        packed = [name for name in files if name.endswith((".tar", ".parquet"))]
        for name in names:
            stands = re.compile(re.escape(name) + _NUMBERED)
            found += [
                Container(_joined(parent, name), _joined(parent, file))
                for file in packed
                if stands.fullmatch(file)
            ]
    return sorted(found, key=lambda container: container.file)


def index_container(root: RawPath, container: Container) -> Iterator[tuple[str, Place]]:
    """Yield (path below the raw folder, place) of each image in the file.

    Raises DataError for a file that is damaged or holds no images, StoreError as reading does.
    """
    if container.file.endswith(".tar"):
        members = _tar_members(root, container.file)
    else:
        members = _parquet_members(root, container.file)
    for name, place in members:
        yield _full_path(name, container.folder), place


def read_parquet_images(
    root: RawPath, file: str, rows: Iterable[int]
) -> Iterator[tuple[int, bytes]]:
    """Yield (row, encoded image) of a Parquet file, rows ascending; one batch is held."""
    import pyarrow.parquet as pq

    wanted = sorted(set(rows))
    with open_binary(root / file) as binary, pq.ParquetFile(binary) as parquet:
        _, image = _columns(parquet.schema_arrow, file)
        groups = _groups_of(parquet, wanted)
        for group, first_row, inside in groups:
            start = first_row
            batches = parquet.iter_batches(
                _ROWS_PER_BATCH, row_groups=[group], columns=[image], use_threads=False
            )
            for batch in batches:
                column = batch.column(0)
                for row in inside:
                    if start <= row < start + batch.num_rows:
                        yield row, _image_bytes(column[row - start].as_py())
                start += batch.num_rows


def _tar_members(root: RawPath, file: str) -> Iterator[tuple[str, Place]]:
    found = False
    try:
        with open_binary(root / file) as binary, tarfile.open(fileobj=binary, mode="r:") as archive:
            for member in archive:
                found = True
                if member.isreg():
                    name = member.name.removeprefix("./")
                    yield name, Place(file, member.offset_data, member.size)
                # The archive remembers each member, for which there is no use here; the list has
                # no type, for it is not of tarfile's public face, nor is there another way.
                archive.members = []  # type: ignore[attr-defined]
    except tarfile.TarError as error:
        if found:
            # What is missing of it will be missed by the rows that show it, and by no others.
            log.warning("%s: damaged or cut off (%s)", root / file, error)
            return
        raise DataError(
            f"{root / file}: not a readable tar file ({error}); it must not be compressed, as "
            "images in it are read where they lie"
        ) from None


def _parquet_members(root: RawPath, file: str) -> Iterator[tuple[str, Place]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with open_binary(root / file) as binary, pq.ParquetFile(binary) as parquet:
            path, _ = _columns(parquet.schema_arrow, file)
            row = 0
            for batch in parquet.iter_batches(4096, columns=[path], use_threads=False):
                for value in batch.column(0).to_pylist():
                    name = value.get("path") if isinstance(value, dict) else value
                    if isinstance(name, str) and name:
                        yield name, Place(file, row=row)
                    row += 1
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{root / file}: cannot be read as Parquet ({error})") from None


def _columns(schema: Any, file: str) -> tuple[str, str]:
    """Return the columns to read for the paths and for the images."""
    names = {name.lower(): name for name in schema.names}
    image = next((names[name] for name in _IMAGE_COLUMNS if name in names), None)
    path = next((names[name] for name in _PATH_COLUMNS if name in names), None)
    if path is None and image is not None:
        kind = schema.field(image).type
        # Of a struct only the paths are read, not the images.
        if any(kind.field(place).name == "path" for place in range(kind.num_fields)):
            path = f"{image}.path"
    if path is None or image is None:
        raise DataError(
            f"{file}: columns {', '.join(schema.names)}; expected the encoded image in one of "
            f"{', '.join(_IMAGE_COLUMNS)} and its path in one of {', '.join(_PATH_COLUMNS)}, or "
            "in the image's own `path`"
        )
    return path, image


def _groups_of(parquet: Any, rows: list[int]) -> Iterator[tuple[int, int, list[int]]]:
    """Yield (row group, its first row, wanted rows in it)."""
    first = 0
    for group in range(parquet.num_row_groups):
        size = parquet.metadata.row_group(group).num_rows
        inside = [row for row in rows if first <= row < first + size]
        if inside:
            yield group, first, inside
        first += size


def _image_bytes(value: Any) -> bytes:
    data = value.get("bytes") if isinstance(value, dict) else value
    return bytes(data) if data is not None else b""


def _full_path(name: str, folder: str) -> str:
    if name.startswith(f"{folder}/"):
        return name
    own_name = folder.rpartition("/")[2]
    if name.startswith(f"{own_name}/"):
        return folder + name.removeprefix(own_name)
    return f"{folder}/{name}"


def _joined(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
