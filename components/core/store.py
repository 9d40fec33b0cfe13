"""The store: one folder, local or in an object store, that holds every artifact of the pipeline.

In: an address (`./store`, `/data/store`, `s3://bucket/prefix`) and paths below it with `/`. Out:
bytes, JSON, names, local folders. A Store holds only strings, so it travels to Ray workers and
opens its filesystem there. Writes are atomic; trouble becomes StoreError with what to do about it.
Knows nothing of steps, keys or records.
"""

import hashlib
import json
import logging
import os
import platform
import posixpath
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from components.core.artifact import Manifest, describe, hash_file, verify_folder
from components.core.errors import ArtifactError, StoreError
from components.core.store_faults import guarded
from components.core.store_local import LocalFiles

log = logging.getLogger(__name__)

Result = TypeVar("Result")

# Where remote artifacts are kept on this machine, below the home folder.
CACHE_FOLDER = ".cache/lavaflow/artifacts"


class Store:
    """A root folder and the atomic operations below it. Paths are relative to the root, with
    `/`.
    """

    def __init__(self, root: str, cache_path: str | None = None) -> None:
        """`root`: local path or `s3://bucket/prefix`; `cache_path`: where remote artifacts are
        copied to.
        """
        self.protocol, self.root = _split_address(root)
        self.cache_path = cache_path or str(Path.home() / CACHE_FOLDER)
        self._files: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """Leave the open filesystem behind: each process opens its own."""
        return {**self.__dict__, "_files": None}

    def __repr__(self) -> str:
        return f"Store({self.uri()!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Store) and self.uri() == other.uri()

    def __hash__(self) -> int:
        return hash(self.uri())

    @property
    def is_local(self) -> bool:
        """True when stored files can be opened by their path on this machine."""
        return self.protocol == "file"

    def uri(self, *parts: str) -> str:
        """Return the full address of a path below the root."""
        path = self._full("/".join(parts))
        return path if self.is_local else f"{self.protocol}://{path}"

    def relative(self, uri: str) -> str | None:
        """Return the path below the root that `uri` names, or None when it lies elsewhere."""
        base = self.uri().rstrip("/") + "/"
        return uri.removeprefix(base).rstrip("/") if uri.startswith(base) else None

    def exists(self, path: str) -> bool:
        """Return whether a file or folder is there."""
        return self._do(path, lambda files, full: files.exists(full))

    def read_bytes(self, path: str) -> bytes:
        """Return a file's content; raises FileNotFoundError when there is none."""
        return self._do(path, lambda files, full: files.read(full))

    def write_bytes(self, path: str, data: bytes) -> None:
        """Replace a file's content atomically, making folders as needed."""
        self._do(path, lambda files, full: files.write(full, data))

    def put_if_absent(self, path: str, data: bytes) -> bool:
        """Create a file with its whole content; returns False, changing nothing, when it exists
        already.

        Of several processes that try at once at most one gets True. A request that was answered
        late and sent again may meet its own first try: a caller whose content is unique to it can
        read the file after False and see who won.
        """
        return self._do(path, lambda files, full: files.put_if_absent(full, data))

    def replace_if_unchanged(self, path: str, expected: bytes, data: bytes) -> bool:
        """Replace a file's content only while it is still `expected`; returns whether it was
        replaced.
        """
        return self._do(path, lambda files, full: files.replace_if_unchanged(full, expected, data))

    def read_json(self, path: str) -> Any:
        """Return a JSON file's value; raises FileNotFoundError, or StoreError when it is not
        JSON.
        """
        try:
            return json.loads(self.read_bytes(path))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ArtifactError(
                f"{self.uri(path)}: not valid JSON ({error}); delete this file and run again"
            ) from error

    def write_json(self, path: str, value: Any) -> None:
        """Write a value as readable JSON, atomically."""
        self.write_bytes(path, encode_json(value))

    def list(self, path: str = "") -> list[str]:
        """Return the names directly below a folder, sorted; none when it does not exist."""
        return self._do(path, lambda files, full: files.list(full))

    def stamps(self, path: str) -> dict[str, tuple[int, str]]:
        """Return name -> (size in bytes, change stamp) of all files below a folder."""
        return self._do(path, lambda files, full: files.stamps(full))

    def delete(self, path: str, recursive: bool = False) -> None:
        """Delete a file, or with `recursive` a folder; nothing happens when it is not there."""
        self._do(path, lambda files, full: files.delete(full, recursive))

    def upload(self, local_path: str | Path, path: str) -> None:
        """Copy a local file or folder into the store. A folder is not atomic: write its record
        last.
        """
        self._do(path, lambda files, full: files.upload(Path(local_path), full))

    def download(self, path: str, local_path: str | Path) -> None:
        """Copy a stored file or folder to a local path; raises FileNotFoundError without one."""
        self._do(path, lambda files, full: files.download(full, Path(local_path)))

    def local_copy(self, path: str, manifest: Manifest | None = None) -> Path:
        """Return a local path with the stored file or folder.

        A local store returns the real path. A remote one is downloaded once into the cache, checked
        against `manifest` where given; stored artifacts never change, so the copy is used again.
        Raises ArtifactError when there is nothing, or when the download is not what the manifest
        says.
        """
        if self.is_local:
            local_path = Path(self._full(path))
            if not local_path.exists():
                raise ArtifactError(
                    f"{self.uri(path)}: does not exist on {platform.node()}; on several machines "
                    "the store must be an object store or a folder that all of them share"
                )
            return local_path
        from filelock import FileLock

        target = self._cache_target(path, manifest)
        guarded(self.cache_path, lambda: Path(self.cache_path).mkdir(parents=True, exist_ok=True))
        # The workers of one machine want the same at once: one of them fetches it.
        with FileLock(f"{target.parent}.lock"):
            if not target.exists():
                self._download(path, target, manifest)
        return target

    def verify(self, path: str, manifest: Manifest) -> str | None:
        """Return why the stored folder is not what the manifest says, or None when it is whole.

        Files whose size and change stamp are those of the publication count as untouched; the
        others are read again and their sha256 compared.
        """
        stamps = self.stamps(path)
        missing = [name for name in manifest.files if name not in stamps]
        altered = []
        for name, entry in manifest.files.items():
            if name in missing:
                continue
            size, stamp = stamps[name]
            if size != entry.size:
                altered.append(name)
            elif entry.stamp and stamp == entry.stamp:
                continue
            elif self._sha256(posixpath.join(path, name)) != entry.sha256:
                altered.append(name)
        return describe(missing, altered)

    def check_writable(self) -> None:
        """Raise StoreError with what to do when the store cannot be written."""
        probe = f".probe-{uuid.uuid4().hex}"
        try:
            self.write_bytes(probe, b"lavaflow can write here\n")
            self.delete(probe)
        except FileNotFoundError as error:
            raise StoreError(
                f"{self.uri()}: does not exist and cannot be made ({error}); "
                "check the address (a bucket must be there already)"
            ) from error

    def _sha256(self, path: str) -> str:
        if self.is_local:
            return self._do(path, lambda files, full: hash_file(full))
        return self._do(path, lambda files, full: files.sha256(full))

    def _cache_target(self, path: str, manifest: Manifest | None) -> Path:
        version = manifest.digest() if manifest is not None else ""
        name = hashlib.sha256(f"{self.uri(path)} {version}".encode()).hexdigest()[:32]
        return Path(self.cache_path) / name / (posixpath.basename(path.rstrip("/")) or "files")

    def _download(self, path: str, target: Path, manifest: Manifest | None) -> None:
        incoming = target.parent.with_name(f"{target.parent.name}.{uuid.uuid4().hex}.part")
        try:
            guarded(self.cache_path, lambda: incoming.mkdir(parents=True))
            self._do(path, lambda files, full: files.download(full, incoming / target.name))
            # An artifact without files is a folder all the same.
            (incoming / target.name).parent.mkdir(parents=True, exist_ok=True)
            wrong = verify_folder(incoming / target.name, manifest) if manifest else None
            if wrong:
                raise ArtifactError(
                    f"{self.uri(path)}: {wrong} after the download; the stored artifact is "
                    "damaged, run the step that made it again"
                )
            incoming.rename(target.parent)
        except FileNotFoundError as error:
            raise ArtifactError(f"{self.uri(path)}: does not exist") from error
        finally:
            shutil.rmtree(incoming, ignore_errors=True)

    def _full(self, path: str) -> str:
        clean = posixpath.normpath(path) if path else ""
        if clean.startswith(("../", "/")) or clean == "..":
            raise StoreError(
                f"{path!r} leaves the store {self.root}; paths are relative to its root"
            )
        return self.root if clean in ("", ".") else posixpath.join(self.root, clean)

    def _do(self, path: str, action: Callable[[Any, str], Result]) -> Result:
        full = self._full(path)
        return guarded(self.uri(path), lambda: action(self._open(), full))

    def _open(self) -> Any:
        if self._files is None:
            if self.is_local:
                self._files = LocalFiles()
            else:
                # Imported late: a local pipeline needs neither fsspec nor botocore.
                from components.core.store_remote import RemoteObjects

                self._files = RemoteObjects(self.protocol)
        return self._files


def open_store(uri: str, cache_path: str | None = None) -> Store:
    """Return the store at an address after writing a probe to it; raises StoreError with what to
    do.
    """
    store = Store(uri, cache_path)
    store.check_writable()
    return store


def resolve(uri: str) -> tuple[Store, str]:
    """Return (store, path) for the full address of any file or folder, inside or outside a
    store.
    """
    protocol, path = _split_address(uri)
    parent, _, name = path.rstrip("/").rpartition("/")
    if not name or (protocol != "file" and not parent):
        return Store(uri), ""
    return Store((parent or "/") if protocol == "file" else f"{protocol}://{parent}"), name


def local_copy(uri: str) -> Path:
    """Return a local path with what lies at any address; a local address is returned as it is."""
    store, path = resolve(uri)
    return store.local_copy(path)


def encode_json(value: Any) -> bytes:
    """Return the readable JSON bytes of a plain value (sorted keys, ASCII, one final newline)."""
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=True) + "\n").encode()


def _split_address(address: str) -> tuple[str, str]:
    """Return (protocol, absolute path or bucket/prefix) of a store address."""
    protocol, separator, rest = address.partition("://")
    if not separator:
        # Absolute at once: Ray workers run in other folders.
        return "file", os.path.abspath(Path(address).expanduser())  # noqa: PTH100 - keeps symlinks
    if protocol in ("file", "local"):
        return "file", os.path.abspath("/" + rest.lstrip("/"))  # noqa: PTH100
    clean = posixpath.normpath(rest.strip("/")) if rest.strip("/") else ""
    if not clean:
        raise StoreError(
            f"{address!r}: the bucket is missing; write such as {protocol}://bucket/prefix"
        )
    return protocol, f"/{clean}" if protocol == "memory" else clean
