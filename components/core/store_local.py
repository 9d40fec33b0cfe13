"""The store's operations on a local (or network-mounted) folder.

In: absolute paths. Out: bytes, names, or the operating system's own errors (translated by the
store). Every write is atomic: a temporary name in the same folder, then a link or a rename, so that
a reader sees the old content, the new content or none, never half of it.
"""

import contextlib
import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

# Temporary names carry this prefix; listings leave them out.
TEMPORARY_PREFIX = ".tmp-"


class LocalFiles:
    """Files below folders of this machine."""

    is_local = True

    def exists(self, path: str) -> bool:
        return Path(path).exists()

    def read(self, path: str) -> bytes:
        return Path(path).read_bytes()

    def write(self, path: str, data: bytes) -> None:
        """Replace the file's content atomically."""
        with _written_beside(path, data) as temporary:
            Path(temporary).replace(path)

    def put_if_absent(self, path: str, data: bytes) -> bool:
        """Create the file with its whole content; False when it exists already."""
        with _written_beside(path, data) as temporary:
            try:
                os.link(temporary, path)
            except FileExistsError:
                return False
            except OSError:
                # Some mounted file systems know no hard links; exclusive creation is the next best.
                return _create_exclusively(path, data)
        return True

    def replace_if_unchanged(self, path: str, expected: bytes, data: bytes) -> bool:
        """Replace the content when it is still `expected`; False otherwise."""
        try:
            with _folder_lock(Path(path).parent):
                if self.read(path) != expected:
                    return False
                self.write(path, data)
                return True
        except FileNotFoundError:
            return False

    def list(self, path: str) -> list[str]:
        """Return the names directly below the folder, sorted; none when there is no such folder."""
        try:
            names = os.listdir(path)  # noqa: PTH208 - names, not paths, of possibly many entries
        except FileNotFoundError:
            return []
        return sorted(name for name in names if not name.startswith(TEMPORARY_PREFIX))

    def stamps(self, path: str) -> dict[str, tuple[int, str]]:
        """Return relative name -> (size, change stamp) of each file below the folder.

        The stamp is the modification time in nanoseconds: equal stamp and size mean an untouched
        file.
        """
        found: dict[str, tuple[int, str]] = {}
        for folder, _, names in os.walk(path):
            for name in names:
                full = Path(folder, name)
                with contextlib.suppress(FileNotFoundError):
                    status = full.stat()
                    found[full.relative_to(path).as_posix()] = (
                        status.st_size,
                        str(status.st_mtime_ns),
                    )
        return found

    def delete(self, path: str, recursive: bool) -> None:
        if recursive and Path(path).is_dir() and not Path(path).is_symlink():
            shutil.rmtree(path, ignore_errors=False)
        else:
            Path(path).unlink(missing_ok=True)

    def upload(self, local_path: Path, path: str) -> None:
        """Copy a local file or folder into the store."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        if local_path.is_dir():
            shutil.copytree(local_path, path, dirs_exist_ok=True)
        else:
            shutil.copy2(local_path, path)

    def download(self, path: str, local_path: Path) -> None:
        """Copy a stored file or folder to a local path."""
        self.upload(Path(path), str(local_path))


@contextlib.contextmanager
def _written_beside(path: str, data: bytes) -> Iterator[str]:
    """Write `data` durably under a temporary name in the folder of `path`; the name is gone
    afterwards.
    """
    folder = Path(path).parent
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}"
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield str(temporary)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _create_exclusively(path: str, data: bytes) -> bool:
    try:
        with Path(path).open("xb") as file:
            file.write(data)
    except FileExistsError:
        return False
    return True


@contextlib.contextmanager
def _folder_lock(folder: Path) -> Iterator[None]:
    """Hold the folder's advisory lock, so that two processes compare and replace one after the
    other.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        # A mount without locks still has the comparison itself.
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
