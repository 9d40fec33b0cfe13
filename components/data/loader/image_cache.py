"""The encoded images of prepared data, wherever they lie; remote ones are kept on this machine.

In: an entry of the image shards and the raw folder. Out: encoded bytes. The cache is a folder that
the processes of a machine share and that stays below a size: the images that were not wanted for
the longest time go first. An image appears in it whole or not at all.
"""

import contextlib
import hashlib
import logging
import os
import threading
import uuid
from pathlib import Path

from components.core.errors import DataError
from components.data.raw.containers import Place
from components.data.raw.folder import RawPath
from components.data.raw.image_files import read_image_file, read_place
from components.data.shards import StoredImage

log = logging.getLogger(__name__)

_KEPT_SHARE = 0.9
"""How full the cache is left after it was too full, so that files are not counted at each turn."""


def encoded_image(image: StoredImage, root: RawPath, cache: "ImageCache | None" = None) -> bytes:
    """Return the encoded image of an entry, from the shard itself or out of the raw folder.

    Raises DataError when it is gone from there, StoreError when a store does not answer.
    """
    if image.encoded is not None:
        return image.encoded
    if cache is not None and not isinstance(root, Path):
        return cache.read(image, root)
    return _from_raw(image, root)


class ImageCache:
    """A folder of images that came from a remote store, of a limited size."""

    def __init__(self, folder: Path | str, max_bytes: int) -> None:
        self._folder = Path(folder)
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._written = 0
        """Bytes written since files were last counted."""
        self._counted: int | None = None

    def read(self, image: StoredImage, root: RawPath) -> bytes:
        """Return the image, fetching it if it is not here."""
        name = f"{root}\n{image.path}\n{image.file}\n{image.offset}\n{image.length}"
        key = hashlib.blake2b(name.encode(), digest_size=20).hexdigest()
        path = self._folder / key[:2] / key
        try:
            data = path.read_bytes()
            os.utime(path)
            return data
        except OSError:
            pass  # not here, or the cache is of no use: the store has it
        data = _from_raw(image, root)
        try:
            self._keep(path, data)
        except OSError as error:
            # A full disk is no reason to stop: the image is at hand.
            log.debug("%s: not kept (%s)", path, error)
        return data

    def _keep(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{uuid.uuid4().hex}")
        try:
            temporary.write_bytes(data)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        with self._lock:
            self._written += len(data)
            if self._counted is None or self._counted + self._written > self._max_bytes:
                self._counted, self._written = self._shrink(), 0

    def _shrink(self) -> int:
        """Delete the oldest images where there are too many; return the bytes that are left.

        Other processes may do the same at this moment, and files may be gone.
        """
        files: list[tuple[float, int, str]] = []
        for folder, _, names in os.walk(self._folder):
            for name in names:
                with contextlib.suppress(FileNotFoundError):
                    path = Path(folder, name)
                    status = path.stat()
                    files.append((status.st_mtime, status.st_size, str(path)))
        total = sum(size for _, size, _ in files)
        if total <= self._max_bytes:
            return total
        for _, size, name in sorted(files):
            if total <= self._max_bytes * _KEPT_SHARE:
                break
            Path(name).unlink(missing_ok=True)
            total -= size
        return total


def _from_raw(image: StoredImage, root: RawPath) -> bytes:
    try:
        if image.file is not None:
            return read_place(root, Place(image.file, image.offset, image.length))
        # Links were looked at when the data were prepared.
        return read_image_file(root, image.path, follow_links=True)
    except FileNotFoundError:
        raise DataError(
            f"{root}: image {image.file or image.path} was there when the data were prepared; "
            "bring it back, give the folder where it is now as image_root, or prepare again"
        ) from None
