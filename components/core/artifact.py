"""What a step leaves behind: a folder in the store, its digest, and a typed record about it.

In: the body a step function returns, and the local folder with its files. Out: the same body with
`uri` and `digest` filled in by the step layer, and a manifest of the files. Each floor defines its
own bodies (prepared data, a model checkpoint, scores ...) as subclasses; this module knows none of
them.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import Field

from components.core.config import Config
from components.core.errors import ArtifactError

# Raised when the form of the manifest file changes; files of another version are not read.
MANIFEST_SCHEMA = 1

READ_BYTES = 4 * 1024 * 1024


class Artifact(Config):
    """A published output of a step. Subclasses add typed fields; a step function leaves `uri`
    empty.
    """

    uri: str = Field(default="")
    """Folder of the artifact's files in the store; filled in when the step publishes."""
    digest: str = Field(default="")
    """sha256 over the manifest and the typed fields: equal content, equal digest, wherever it
    lies.
    """


@dataclass(frozen=True)
class FileEntry:
    """One file of an artifact: size in bytes, sha256 in hex."""

    size: int
    sha256: str
    stamp: str = ""
    """Cheap sign of an untouched file (local: modification time; S3: ETag). Not part of any
    digest.
    """


@dataclass(frozen=True)
class Manifest:
    """The files of an artifact, by name relative to its folder (with `/`)."""

    files: Mapping[str, FileEntry]

    @property
    def num_bytes(self) -> int:
        """Bytes of all files together."""
        return sum(entry.size for entry in self.files.values())

    def digest(self) -> str:
        """Return the sha256 over names, sizes and contents; the same wherever the files lie."""
        rows = [[name, entry.size, entry.sha256] for name, entry in sorted(self.files.items())]
        return hashlib.sha256(json.dumps(rows, ensure_ascii=True).encode()).hexdigest()

    def with_stamps(self, stamps: Mapping[str, tuple[int, str]]) -> "Manifest":
        """Return a copy that remembers the store's change stamps of the published files."""
        return Manifest(
            {
                name: FileEntry(entry.size, entry.sha256, stamps.get(name, (0, ""))[1])
                for name, entry in self.files.items()
            }
        )

    def to_json(self) -> dict[str, Any]:
        """Return the plain form that is written beside the artifact."""
        return {
            "schema": MANIFEST_SCHEMA,
            "files": {name: vars(entry) for name, entry in sorted(self.files.items())},
        }

    @classmethod
    def from_json(cls, value: Any, where: str) -> Self:
        """Read the plain form; raises ArtifactError when it is not one or of another schema
        version.
        """
        try:
            if value["schema"] != MANIFEST_SCHEMA:
                raise ArtifactError(
                    f"{where}: manifest of schema {value['schema']}, this version reads "
                    f"{MANIFEST_SCHEMA}; run the step again"
                )
            return cls({name: FileEntry(**entry) for name, entry in value["files"].items()})
        except (KeyError, TypeError, AttributeError) as error:
            raise ArtifactError(f"{where}: not a manifest ({error}); run the step again") from error


def build_manifest(folder: str | Path) -> Manifest:
    """Return the manifest of all files below a local folder; files are hashed side by side."""
    root = Path(folder)
    names = sorted(file.relative_to(root).as_posix() for file in root.rglob("*") if file.is_file())
    # sha256 releases the interpreter lock; more threads than processors only fight over the disk.
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        entries = list(pool.map(lambda name: _entry(root / name), names))
    return Manifest(dict(zip(names, entries, strict=True)))


def verify_folder(folder: str | Path, manifest: Manifest) -> str | None:
    """Return why a local folder is not what the manifest says, or None when every file is whole."""
    return differences(manifest, build_manifest(folder))


def differences(expected: Manifest, found: Manifest) -> str | None:
    """Return the first few missing or altered files in words, or None; surplus files do not
    matter.
    """
    missing = [name for name in expected.files if name not in found.files]
    altered = [
        name
        for name, entry in expected.files.items()
        if name in found.files
        and (found.files[name].size, found.files[name].sha256) != (entry.size, entry.sha256)
    ]
    return describe(missing, altered)


def describe(missing: list[str], altered: list[str]) -> str | None:
    """Return `missing a, b; altered c` in at most a line, or None when both lists are empty."""
    parts = []
    for word, names in (("missing", missing), ("altered", altered)):
        if names:
            rest = f" and {len(names) - 3} more" if len(names) > 3 else ""
            parts.append(f"{word} {', '.join(sorted(names)[:3])}{rest}")
    return "; ".join(parts) or None


def hash_file(path: str | Path) -> str:
    """Return the sha256 of a local file in hex."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _entry(path: Path) -> FileEntry:
    return FileEntry(path.stat().st_size, hash_file(path))
