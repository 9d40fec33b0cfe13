"""The raw folder: annotation files and images, on this machine or in an object store.

In: an address (`/data/llava`, `s3://bucket/raw`). Out: a path object that readers use like any
path, open files, and bytes of a range. Trouble of a remote store becomes StoreError, or
StoreUnavailable where trying again can help; it never looks like the end of a file. Credentials and
the endpoint are found by botocore itself. Remote paths are those of universal_pathlib over fsspec.
"""

import errno
import io
import os
from pathlib import Path
from typing import BinaryIO, TextIO, cast

from upath import UPath

from components.core.errors import DataError, StoreUnavailable
from components.core.store_faults import guarded

RawPath = Path | UPath
"""A local path, or a remote one with the same methods."""

CONNECT_TIMEOUT_S = 10
READ_TIMEOUT_S = 30
"""How long a request may stay silent; botocore waits 60 s, and s3fs asks up to five times."""
MAX_ATTEMPTS = 3
"""Requests that botocore makes for one answer; `guarded` and the step layer try again later."""


def open_raw(address: str | os.PathLike[str]) -> RawPath:
    """Return the path object of an address; nothing is read. It need not exist."""
    text = str(address)
    protocol, separator, rest = text.partition("://")
    if not separator:
        return Path(text).expanduser()
    if protocol in ("file", "local"):
        return Path("/" + rest.lstrip("/"))
    if protocol != "s3":
        return UPath(text)
    patience = {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "read_timeout": READ_TIMEOUT_S,
        "retries": {"mode": "standard", "max_attempts": MAX_ATTEMPTS},
    }
    # Without listings a file that has just been put there is seen.
    return UPath(text, use_listings_cache=False, config_kwargs=patience)


def check_folder(root: RawPath) -> None:
    """Raise DataError when there is no such folder, StoreError when it cannot be looked at."""
    found = root.is_dir() if isinstance(root, Path) else guarded(str(root), root.is_dir)
    if not found:
        raise DataError(f"{root}: no such raw folder; write or fetch the raw annotations first")


def file_exists(path: RawPath) -> bool:
    """Return whether a file is there."""
    return path.is_file() if isinstance(path, Path) else guarded(str(path), path.is_file)


def names_in(folder: RawPath) -> list[str]:
    """Return the names directly below a folder, sorted; none where there is no such folder."""

    def listed() -> list[str]:
        try:
            return sorted(path.name for path in folder.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []

    return listed() if isinstance(folder, Path) else guarded(str(folder), listed)


def open_binary(path: RawPath) -> BinaryIO:
    """Return an open file. Raises FileNotFoundError, DataError (local) or StoreError (remote)."""
    if isinstance(path, Path):
        try:
            return path.open("rb")
        except FileNotFoundError:
            raise
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    file = guarded(str(path), lambda: path.open("rb"))
    return cast(BinaryIO, io.BufferedReader(_RemoteFile(str(path), file), 1 << 20))


def open_text(path: RawPath, newline: str | None = None) -> TextIO:
    """Return an open UTF-8 file without its byte order mark; bytes that are no UTF-8 become lone
    surrogates. Raises as `open_binary` does.
    """
    binary = open_binary(path)
    # Some editors put a byte order mark in front, which is no part of the content.
    return io.TextIOWrapper(binary, encoding="utf-8-sig", errors="surrogateescape", newline=newline)


def read_range(path: RawPath, offset: int, length: int) -> bytes:
    """Return `length` bytes of a file from `offset` on, fewer only at its end.

    Raises FileNotFoundError, OSError (local) or StoreError (remote).
    """
    if isinstance(path, Path):
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(length)
    return guarded(str(path), lambda: _remote_range(path, offset, offset + length))


def _remote_range(path: UPath, start: int, end: int) -> bytes:
    try:
        return bytes(path.fs.cat_file(path.path, start=start, end=end))
    except OSError as error:
        # An empty object has no range at all.
        if error.errno == errno.EINVAL and start == 0:
            return b""
        raise


class _RemoteFile(io.RawIOBase):
    """A file of fsspec whose trouble is translated, and whose end is its real end."""

    def __init__(self, uri: str, file: BinaryIO) -> None:
        self._uri, self._file = uri, file
        # Files of fsspec know their size; `BinaryIO`, which types them, has no word for it.
        self._size: int = file.size  # type: ignore[attr-defined]

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    # `Buffer` has its type from Python 3.12 on.
    def readinto(self, buffer) -> int:  # type: ignore[no-untyped-def]
        data = guarded(self._uri, lambda: self._read(len(buffer)))
        buffer[: len(data)] = data
        return len(data)

    def _read(self, size: int) -> bytes:
        data = self._file.read(size)
        if not data and self._file.tell() < self._size:
            raise StoreUnavailable(
                f"{self._uri}: the store sent {self._file.tell():,} of {self._size:,} bytes; "
                "run the same command later"
            )
        return data

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
