"""The images of a raw folder are found, checked and numbered, each once however many rows show it.

In: paths as annotation files write them, or pictures that the annotation files hold themselves.
Out: a number for each good image, a reason for each bad one, and the encoded bytes in the image
shards. A path must stay inside the raw folder.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from components.core.errors import DataError
from components.data.images import MAX_IMAGE_BYTES, decode
from components.data.shards import ShardWriter

Picture = tuple[str, bytes | None]
"""A path below the raw folder and None, or a name and the encoded picture."""
Map = Callable[[Callable[[Picture], "bytes | str"], Iterable[Picture]], Iterator["bytes | str"]]


@dataclass(frozen=True, slots=True)
class CheckedImage:
    """An image's number in the shards, or why it cannot be used."""

    index: int
    problem: str | None = None


class ImageFiles:
    """Remembers every image it has seen; `run` maps the check over new ones, in order.

    Without a writer the images are only checked.
    """

    def __init__(
        self, root: Path, writer: ShardWriter | None, embed: bool, follow_links: bool, run: Map
    ) -> None:
        self._root = root
        self._resolved_root = root.resolve()
        self._writer = writer
        self._embed = embed
        self._follow_links = follow_links
        self._run = run
        self._seen: dict[str, CheckedImage] = {}
        self._count = 0

    def check(self, pictures: Mapping[str, bytes | None]) -> dict[str, CheckedImage]:
        """Return what is known of the images (path, or name -> bytes), after checking new ones."""
        new = [picture for picture in pictures.items() if picture[0] not in self._seen]
        for (path, inside), outcome in zip(new, self._run(self._read, new), strict=True):
            if isinstance(outcome, str):
                self._seen[path] = CheckedImage(-1, outcome)
                continue
            self._seen[path] = CheckedImage(self._count)
            self._count += 1
            if self._writer is not None:
                # A picture without a file of its own must be kept, or it would be lost.
                kept = outcome if self._embed or inside is not None else None
                self._writer.add({"path": path, "bytes": kept}, max(1, len(outcome)))
        return {path: self._seen[path] for path in pictures}

    def _read(self, picture: Picture) -> bytes | str:
        """Return the encoded image, or the reason why it is not usable."""
        path, data = picture
        try:
            if data is None:
                data = read_image(
                    self._root, path, None if self._follow_links else self._resolved_root
                )
            decode(data)
        except FileNotFoundError:
            return f"image {path} does not exist"
        except DataError as error:
            return f"image {path}: {error}"
        except OSError as error:
            return f"image {path}: cannot be read ({error.strerror or error})"
        return data


def read_image(root: Path, path: str, resolved_root: Path | None) -> bytes:
    """Return the encoded image at a path below the root, one byte over the limit at most.

    Raises DataError for a path that leaves the root (see `locate`), OSError when it is not there.
    """
    full = locate(root, path, resolved_root)
    if full.exists() and not full.is_file():
        raise DataError("is no file")
    with full.open("rb") as file:
        return file.read(MAX_IMAGE_BYTES + 1)


def embedded_name(file: str, data: bytes) -> str:
    """Return the name of a picture that lies inside an annotation file: equal for equal bytes."""
    return f"{file}#{hashlib.blake2b(data, digest_size=12).hexdigest()}"


def locate(root: Path, path: str, resolved_root: Path | None) -> Path:
    """Return where an image lies. Raises DataError for a path that leaves the root.

    With `resolved_root` symbolic links are followed first, so that none of them may lead out.
    """
    relative = PurePosixPath(path)
    if relative.is_absolute() or ".." in relative.parts or "\x00" in path:
        raise DataError("the path leaves the raw folder; expected one relative to it, without `..`")
    full = root / relative
    if resolved_root is not None and not full.resolve().is_relative_to(resolved_root):
        raise DataError("a link leads out of the raw folder; set follow_links to admit it")
    return full
