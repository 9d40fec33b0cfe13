"""The images of a raw folder are found and read, wherever they lie, and never outside of it.

In: paths as annotation files write them. Out: encoded bytes, or the reason why an image cannot be
used. An image is a file of its own or lies in a container (see `containers.py`); where both
exist the container is taken. Trouble of a remote store is an error, not a reason: it says nothing
about the image.
"""

import errno
from functools import lru_cache
from pathlib import Path, PurePosixPath

from components.core.errors import DataError, LavaflowError
from components.data.images import MAX_IMAGE_BYTES, check_size, decode
from components.data.raw.containers import (
    Container,
    Place,
    find_containers,
    index_container,
    read_parquet_images,
)
from components.data.raw.folder import RawPath, read_range


class ImageFiles:
    """Any image of a raw folder at once; containers are indexed when a path first needs them."""

    def __init__(self, root: RawPath, follow_links: bool = False) -> None:
        self._root = root
        self._follow_links = follow_links
        self._known: set[str] = set()
        self._indexed: set[Container] = set()
        self._places: dict[str, Place] = {}

    def read(self, path: str) -> bytes:
        """Return the encoded image, one byte over the limit at most.

        Raises DataError for a path that leaves the folder, FileNotFoundError or OSError when it
        cannot be read, StoreError when a store does not answer.
        """
        folder = path.rpartition("/")[0]
        if folder not in self._known:
            for container in find_containers(self._root, [folder]):
                if container not in self._indexed:
                    self._places.update(index_container(self._root, container))
                    self._indexed.add(container)
            self._known.add(folder)
        place = self._places.get(path)
        if place is None:
            return read_image_file(self._root, path, self._follow_links)
        return read_place(self._root, place)


def usable(read: "bytes | Exception", path: str, verify: bool = True) -> bytes | str:
    """Return the bytes of an image that can be decoded, or the reason why it cannot be used.

    In: what reading it gave. Without `verify` only its size is looked at, nothing is decoded.
    Errors that say nothing about the image are raised.
    """
    try:
        if isinstance(read, Exception):
            raise read
        if verify:
            decode(read)
        else:
            check_size(read, "the image")
    except FileNotFoundError:
        return f"image {path} does not exist"
    except DataError as error:
        return f"image {path}: {error}"
    except LavaflowError:
        raise
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            raise
        return f"image {path}: cannot be read ({error.strerror or error})"
    return read


def read_image_file(root: RawPath, path: str, follow_links: bool = False) -> bytes:
    """Return the encoded image at a path below the root, one byte over the limit at most.

    Raises DataError for a path that leaves the root (see `locate`), OSError when it is not there.
    """
    full = locate(root, path, follow_links)
    if isinstance(full, Path) and full.exists() and not full.is_file():
        raise DataError("is no file")
    return read_range(full, 0, MAX_IMAGE_BYTES + 1)


def read_place(root: RawPath, place: Place) -> bytes:
    """Return the encoded image at a place. Raises DataError where the file ends before it."""
    if place.row >= 0:
        ((_, data),) = read_parquet_images(root, place.file, [place.row])
        return data
    if place.length < 0:
        return read_range(root / place.file, 0, MAX_IMAGE_BYTES + 1)
    length = min(place.length, MAX_IMAGE_BYTES + 1)
    data = read_range(root / place.file, place.offset, length)
    if len(data) < length:
        raise DataError(f"{place.file} ends before byte {place.offset + length:,}: it is cut off")
    return data


def locate(root: RawPath, path: str, follow_links: bool = False) -> RawPath:
    """Return where a file below the root lies. Raises DataError for a path that leaves the root.

    Unless links are to be followed, none of them may lead out.
    """
    relative = PurePosixPath(path)
    if relative.is_absolute() or ".." in relative.parts or "\x00" in path or "://" in path:
        raise DataError("the path leaves the raw folder; expected one relative to it, without `..`")
    full = root / path
    if not follow_links and not _inside(full, root):
        raise DataError("a link leads out of the raw folder; set follow_links to admit it")
    return full


def _inside(full: RawPath, root: RawPath) -> bool:
    if not isinstance(full, Path) or not isinstance(root, Path):
        return True  # object stores know no links
    return full.resolve().is_relative_to(_resolved(root))


@lru_cache(maxsize=8)
def _resolved(root: Path) -> Path:
    return root.resolve()
