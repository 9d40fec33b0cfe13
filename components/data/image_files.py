"""The images of a raw folder are found, checked and numbered, each once however many rows show it.

In: paths as annotation files write them. Out: a number for each good image, a reason for each bad
one, and the encoded bytes in the image shards. A path must stay inside the raw folder.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from components.core.errors import DataError
from components.data.images import decode
from components.data.shards import ShardWriter

Map = Callable[[Callable[[str], "bytes | str"], Iterable[str]], Iterator["bytes | str"]]


@dataclass(frozen=True, slots=True)
class CheckedImage:
    """An image's number in the shards, or why it cannot be used."""

    index: int
    problem: str | None = None


class ImageFiles:
    """Remembers every image it has seen; `run` maps the check over new ones, in order."""

    def __init__(
        self, root: Path, writer: ShardWriter, embed: bool, follow_links: bool, run: Map
    ) -> None:
        self._root = root
        self._resolved_root = root.resolve()
        self._writer = writer
        self._embed = embed
        self._follow_links = follow_links
        self._run = run
        self._seen: dict[str, CheckedImage] = {}
        self._count = 0

    def check(self, paths: Iterable[str]) -> dict[str, CheckedImage]:
        """Return what is known of the images, after checking those that are new."""
        wanted = list(dict.fromkeys(paths))
        new = [path for path in wanted if path not in self._seen]
        for path, outcome in zip(new, self._run(self._read, new), strict=True):
            if isinstance(outcome, str):
                self._seen[path] = CheckedImage(-1, outcome)
                continue
            self._seen[path] = CheckedImage(self._count)
            self._count += 1
            self._writer.add(
                {"path": path, "bytes": outcome if self._embed else None}, max(1, len(outcome))
            )
        return {path: self._seen[path] for path in wanted}

    def _read(self, path: str) -> bytes | str:
        """Return the encoded image, or the reason why it is not usable."""
        try:
            data = locate(
                self._root, path, self._resolved_root if not self._follow_links else None
            ).read_bytes()
            decode(data)
        except FileNotFoundError:
            return f"image {path} does not exist"
        except DataError as error:
            return f"image {path}: {error}"
        except OSError as error:
            return f"image {path}: cannot be read ({error.strerror or error})"
        return data


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
