"""The store's operations on an object store, through fsspec (s3:// by s3fs; others as fsspec knows
them).

In: full object paths without the protocol. Out: bytes, names, or the errors of fsspec and botocore
(translated by the store). Objects appear whole or not at all, so a plain write is atomic; creation
and replacement that must not lose a race use conditional requests.

Credentials and the endpoint are found by botocore itself (environment, profile, instance role).
"""

import hashlib
import logging
from pathlib import Path

import fsspec

log = logging.getLogger(__name__)

READ_BYTES = 8 * 1024 * 1024


class RemoteObjects:
    """Objects below a prefix of a bucket."""

    is_local = False

    def __init__(self, protocol: str) -> None:
        # Listings must be fresh: leases and records are read by several drivers.
        options = {"use_listings_cache": False} if protocol != "memory" else {}
        self.protocol = protocol
        self.files = fsspec.filesystem(protocol, **options)

    def exists(self, path: str) -> bool:
        return bool(self.files.exists(path))

    def read(self, path: str) -> bytes:
        return bytes(self.files.cat_file(path))

    def write(self, path: str, data: bytes) -> None:
        self._parent(path)
        self.files.pipe_file(path, data)

    def put_if_absent(self, path: str, data: bytes) -> bool:
        """Create the object; False when it exists already (on S3: `If-None-Match: *`)."""
        self._parent(path)
        try:
            self.files.pipe_file(path, data, mode="create")
        except FileExistsError:
            return False
        return True

    def replace_if_unchanged(self, path: str, expected: bytes, data: bytes) -> bool:
        """Replace the content when it is still `expected`; False otherwise (on S3: `If-Match`)."""
        try:
            entity_tag = self.files.info(path).get("ETag")
            if self.read(path) != expected:
                return False
        except FileNotFoundError:
            return False
        if self.protocol != "s3" or not entity_tag:
            self.write(path, data)
            return True
        bucket, _, key = path.partition("/")
        try:
            self.files.call_s3("put_object", Bucket=bucket, Key=key, Body=data, IfMatch=entity_tag)
        except OSError as error:
            if "pre-condition" in str(error).lower() or "conflict" in str(error).lower():
                return False
            raise
        return True

    def list(self, path: str) -> list[str]:
        """Return the names directly below the prefix, sorted; none when there is nothing."""
        try:
            found = self.files.ls(path, detail=False)
        except FileNotFoundError:
            return []
        names = {str(name).rstrip("/").rsplit("/", 1)[-1] for name in found}
        # An object may stand for the "folder" itself (some tools create those).
        return sorted(names - {path.rstrip("/").rsplit("/", 1)[-1], ""})

    def stamps(self, path: str) -> dict[str, tuple[int, str]]:
        """Return relative name -> (size, change stamp) of each object below the prefix (stamp: the
        ETag).
        """
        prefix = path.strip("/") + "/"
        found = self.files.find(path, detail=True)
        return {
            name.strip("/").removeprefix(prefix): (
                int(info["size"]),
                str(info.get("ETag") or info.get("created") or ""),
            )
            for name, info in found.items()
        }

    def sha256(self, path: str) -> str:
        """Return the sha256 of an object in hex, read in blocks."""
        digest = hashlib.sha256()
        with self.files.open(path, "rb") as file:
            while block := file.read(READ_BYTES):
                digest.update(block)
        return digest.hexdigest()

    def delete(self, path: str, recursive: bool) -> None:
        if not recursive:
            if self.files.exists(path):
                self.files.rm_file(path)
        elif self.files.exists(path):
            # With the empty objects that stand for folders, which are lost on a list of names.
            self.files.rm(path, recursive=True)

    def upload(self, local_path: Path, path: str) -> None:
        """Copy a local file or folder into the store; sub-folders keep their names."""
        if local_path.is_dir():
            files = sorted(file for file in local_path.rglob("*") if file.is_file())
        else:
            files = [local_path]
        targets = [
            path if file == local_path else f"{path}/{file.relative_to(local_path).as_posix()}"
            for file in files
        ]
        if not files:
            return
        # Explicit pairs: fsspec's rules for trailing slashes and existing folders never apply.
        self.files.put([str(file) for file in files], targets)

    def download(self, path: str, local_path: Path) -> None:
        """Copy an object, or all objects below a prefix, to a local path."""
        names = sorted(self.files.find(path))
        if not names:
            raise FileNotFoundError(path)
        prefix = path.strip("/") + "/"
        targets = []
        for name in names:
            inside = name.strip("/").removeprefix(prefix)
            target = local_path if name.strip("/") == path.strip("/") else local_path / inside
            target.parent.mkdir(parents=True, exist_ok=True)
            targets.append(str(target))
        self.files.get(names, targets)

    def _parent(self, path: str) -> None:
        if self.protocol == "memory":
            self.files.makedirs(path.rsplit("/", 1)[0], exist_ok=True)
