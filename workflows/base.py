"""The ready-made parts that training starts from, as an input artifact of the chain.

In: a recipe's `BaseConfig`. Out: a `BaseParts` record whose digest is that of the folders' content,
so that other weights under the same path are another input. Nothing is copied: an object store is
listed, of a hub's repository the commit is read. (The same files on disk and elsewhere are two
inputs.)
"""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

from components.core.artifact import Artifact, hash_file
from components.core.errors import ConfigError
from components.model.folders import pin_address
from components.training.config import BasePaths

if TYPE_CHECKING:
    # A step that takes a base must not depend on the settings of all other steps.
    from workflows.config import BaseConfig


class BaseParts(Artifact):
    """Vision tower and language model folders, by content."""

    vision_tower: str
    """Pinned address (see `components.model.folders`)."""
    language_model: str
    """The same of the language model."""
    connector: str
    feature_layer: int
    select: str

    def paths(self) -> BasePaths:
        """What a first stage starts from."""
        return BasePaths(
            vision_tower_path=self.vision_tower,
            language_model_path=self.language_model,
            connector=self.connector,
            feature_layer=self.feature_layer,
            select=self.select,
        )


def read_base(config: "BaseConfig", cache_path: Path) -> BaseParts:
    """Return the record of the base folders; digests are cached by size and time of change.

    Raises ConfigError when a folder is missing or holds no configuration, StoreError when a store
    cannot be listed.
    """
    facts = {
        "connector": config.connector,
        "feature_layer": config.feature_layer,
        "select": config.select,
    }
    pinned = {
        "vision_tower": _pin("vision_tower", config.vision_tower),
        "language_model": _pin("language_model", config.language_model),
    }
    digests = {
        part: folder_digest(Path(address), cache_path) if "://" not in address else address
        for part, address in pinned.items()
    }
    whole = hashlib.sha256(json.dumps([digests, facts], sort_keys=True).encode()).hexdigest()
    return BaseParts(uri="", digest=whole, **pinned, **facts)


def _pin(part: str, address: str) -> str:
    try:
        return pin_address(address)
    except ConfigError as error:
        raise ConfigError(f"base.{part}: {error}") from None


def folder_digest(folder: Path, cache_path: Path) -> str:
    """Return the digest of a folder's content; it is remembered by sizes and times of change."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".md")
    stats = [
        [str(path.relative_to(folder)), path.stat().st_size, path.stat().st_mtime_ns]
        for path in files
    ]
    seen = hashlib.sha256(json.dumps([str(folder.resolve()), stats]).encode()).hexdigest()
    remembered = cache_path / "digests" / seen
    if remembered.is_file():
        return remembered.read_text()
    total = hashlib.sha256()
    for path in files:
        total.update(f"{path.relative_to(folder)}\0{hash_file(path)}\n".encode())
    remembered.parent.mkdir(parents=True, exist_ok=True)
    remembered.write_text(total.hexdigest())
    return total.hexdigest()
