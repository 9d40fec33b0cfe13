"""The user's own data, in whichever of five forms it comes.

In: a path. Out: where its images lie, and its rows as records or rejected, streamed. The form is
told from the path and, for JSON, from the first character; a row may be of the LLaVA kind
(`conversations`) or chat messages (`messages`) in every form. Does not open images.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import PurePosixPath
from typing import Any

from components.core.errors import ConfigError, DataError
from components.data.chat import parse_messages, read_address
from components.data.own.parquet import read_parquet_rows
from components.data.own.table import (
    IMAGE_COLUMNS,
    TABLE_COLUMNS,
    parse_table_row,
    read_table,
)
from components.data.raw.folder import (
    RawPath,
    file_exists,
    names_in,
    open_raw,
    open_text,
)
from components.data.raw.image_files import locate
from components.data.raw.json_files import BadLine, read_json_array, read_json_lines
from components.data.records import BadRecord, Record, Rejected, parse_record, record_id

ACCEPTED = """accepted are
  .json            an array of LLaVA rows {id, image, conversations} or chat rows {messages, images}
  .jsonl, .ndjson  one such row per line
  .parquet         such rows, with images as bytes in the column image or images
  .csv, .tsv       a table with the columns image and caption, or image, question and answer
  a folder         of images with one such table, or of .parquet files"""

_TEXT_COLUMNS = set(TABLE_COLUMNS) - set(IMAGE_COLUMNS)
_TABLES = (".csv", ".tsv")
_IN_FOLDERS = (*_TABLES, ".parquet")
_LINES = (".jsonl", ".ndjson")


@dataclass(frozen=True, slots=True)
class OwnData:
    """Files of one form, and the folder below which their images lie."""

    form: str
    files: tuple[RawPath, ...]
    image_root: RawPath

    def rows(self) -> Iterator[Record | Rejected]:
        """Yield every row of every file in order; memory stays at some rows.

        Raises DataError where a file is damaged, after the rows before the damage.
        """
        for file in self.files:
            yield from _READERS[self.form](file)


def open_own(
    path: RawPath | str, image_root: RawPath | PathLike[str] | str | None = None
) -> OwnData:
    """Return the data at a path; images lie below `image_root`, else beside the file.

    Raises DataError when nothing is there or its form is not known, ConfigError for a root that is
    no folder.
    """
    path = open_raw(path) if isinstance(path, str) else path
    form, files = _files_of(path)
    root = files[0].parent if image_root is None else open_raw(str(image_root))
    if not root.is_dir():
        raise ConfigError(f"image root {root}: no such folder")
    return OwnData(form, files, root)


def read_below(root: RawPath, path: str) -> Iterator[Record | Rejected]:
    """Yield the rows of the data at a path below the raw folder, image paths relative to that.

    Raises DataError as `open_own` does, and for a path that leaves the raw folder.
    """
    full = locate(root, path)
    data = open_own(full)
    folder = PurePosixPath(path) if full.is_dir() else PurePosixPath(path).parent
    for row in data.rows():
        if isinstance(row, Rejected) or row.image is None or row.image_bytes is not None:
            yield row
        else:
            # An absolute path and `..` stay what they are, to be refused as leaving the raw folder.
            yield replace(row, image=str(folder / row.image))


def parse_own_row(raw: object, source: str, file: str, index: int) -> Record:
    """Return the record of one row, of whichever kind. Raises BadRecord with the reason."""
    if not isinstance(raw, Mapping):
        raise BadRecord(f"expected an object, found {type(raw).__name__}")
    named = raw.get("source")
    source = named if isinstance(named, str) and named else source
    if raw.get("messages") is not None:
        return parse_messages(raw, source, file, index)
    if raw.get("conversations") is None and any(column in raw for column in _TEXT_COLUMNS):
        return parse_table_row(raw, source, file, index)
    image = raw.get("image") if raw.get("image") is not None else raw.get("images")
    if isinstance(image, list) and len(image) < 2:
        image = image[0] if image else None
    if image is None or isinstance(image, list):
        return parse_record({**raw, "image": image}, source, "", file, index)
    name, data = read_address(image, file)
    record = parse_record({**raw, "image": name}, source, "", file, index)
    return replace(record, image_bytes=data)


def _files_of(path: RawPath) -> tuple[str, tuple[RawPath, ...]]:
    if path.is_dir():
        return _files_in(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file or folder; {ACCEPTED}")
    suffix = path.suffix.lower()
    if suffix == ".json":
        return ("lines" if _first_character(path) == "{" else "array"), (path,)
    if suffix in _LINES:
        return "lines", (path,)
    if suffix in _TABLES:
        return "table", (path,)
    if suffix == ".parquet":
        return "parquet", (path,)
    raise DataError(
        f"{path}: a file of the form {suffix or 'without ending'} is not known; {ACCEPTED}"
    )


def _files_in(folder: RawPath) -> tuple[str, tuple[RawPath, ...]]:
    names = [name for name in names_in(folder) if PurePosixPath(name).suffix.lower() in _IN_FOLDERS]
    files = [folder / name for name in names if file_exists(folder / name)]
    parts = [path for path in files if path.suffix.lower() == ".parquet"]
    tables = [path for path in files if path not in parts]
    if len(tables) == 1 and not parts:
        return "table", (tables[0],)
    if parts and not tables:
        return "parquet", tuple(parts)
    found = ", ".join(path.name for path in tables + parts) or "no table and no Parquet file"
    raise DataError(f"{folder}: holds {found}; name the one file that is meant; {ACCEPTED}")


def _first_character(path: RawPath) -> str:
    with open_text(path) as file:
        return file.read(4096).lstrip()[:1]


def _read_array(path: RawPath) -> Iterator[Record | Rejected]:
    return _parsed(read_json_array(path), path)


def _read_lines(path: RawPath) -> Iterator[Record | Rejected]:
    return _parsed(read_json_lines(path), path)


def _read_parquet(path: RawPath) -> Iterator[Record | Rejected]:
    return _parsed(read_parquet_rows(path), path)


def _read_table(path: RawPath) -> Iterator[Record | Rejected]:
    return read_table(path, path.name)


_READERS: dict[str, Callable[[RawPath], Iterator[Record | Rejected]]] = {
    "array": _read_array,
    "lines": _read_lines,
    "parquet": _read_parquet,
    "table": _read_table,
}


def _parsed(rows: Iterator[tuple[int, Any]], path: RawPath) -> Iterator[Record | Rejected]:
    for index, raw in rows:
        if isinstance(raw, BadLine):
            yield Rejected(path.name, path.name, index, str(index), raw.reason)
            continue
        try:
            yield parse_own_row(raw, path.name, path.name, index)
        except BadRecord as error:
            yield Rejected(path.name, path.name, index, record_id(raw, index), error.reason)
