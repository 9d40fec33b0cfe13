"""A raw folder that exists already, as an input artifact of the chain.

In: a recipe with `raw_uri`, a local folder or an address in an object store. Out: a `RawData`
record whose digest is made of the names, sizes and times of its annotation files and of the tar and
Parquet files that stand for folders of images; single images are checked when they are prepared.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from components.core.errors import ConfigError
from components.data.pocket.config import RawData
from workflows.config import PipelineConfig

FILES = (
    ".json", ".jsonl", ".ndjson", ".tsv", ".p", ".txt", ".csv", ".parquet", ".tar",
)  # fmt: skip
IMAGE_FOLDERS = {
    "images", "train_images", "train2017", "train2014", "val2014", "test2015", "VG_100K",
    "VG_100K_2",
}  # fmt: skip
"""Folders of a hundred thousand images each, in which no other files are looked for."""


def read_raw(recipe: PipelineConfig) -> RawData | None:
    """Return the record of the recipe's raw folder, or None when the pocket world is to be drawn.

    Raises ConfigError when the folder is missing, or when the recipe has neither; StoreError when a
    store cannot be listed.
    """
    if recipe.raw_uri is None:
        if recipe.pocket is None:
            raise ConfigError(
                f"recipe {recipe.name} needs the raw data: --set raw_uri=FOLDER with the public "
                "annotation files and images (docs/data.md shows the layout)"
            )
        return None
    if "://" in recipe.raw_uri:
        address, listing = recipe.raw_uri.rstrip("/"), _remote_files(recipe.raw_uri)
        if not listing:
            raise ConfigError(f"raw_uri: {address} holds no annotation files; check the address")
    else:
        root = Path(recipe.raw_uri).expanduser().resolve()
        if not root.is_dir():
            raise ConfigError(f"raw_uri: {root} is no folder; set it to the folder of the raw data")
        address, listing = str(root), sorted(_local_files(root))
    digest = hashlib.sha256(json.dumps(listing).encode()).hexdigest()
    return RawData(uri=address, digest=digest, num_rows={}, num_images=0)


def _local_files(root: Path) -> Iterator[tuple[str, int, str]]:
    """Yield (path below the root, bytes, change stamp); only files that matter are looked at."""
    for folder, folders, names in os.walk(root, followlinks=True):
        folders[:] = [name for name in folders if name not in IMAGE_FOLDERS]
        for name in names:
            if name.endswith(FILES):
                path = Path(folder, name)
                status = path.stat()
                yield path.relative_to(root).as_posix(), status.st_size, str(status.st_mtime_ns)


def _remote_files(address: str) -> list[tuple[str, int, str]]:
    """Return the same of an object store, sorted; the stamp is the ETag or the time of change."""
    from components.core.store_faults import guarded
    from components.data.raw.folder import open_raw

    root = open_raw(address)
    assert not isinstance(root, Path), "an address with :// names a store"

    def listed() -> list[tuple[str, int, str]]:
        found = []
        for folder, folders, files in root.fs.walk(root.path, detail=True):
            for name in IMAGE_FOLDERS & set(folders):
                del folders[name]
            for name, info in files.items():
                if name.endswith(FILES):
                    below = f"{folder}/{name}".removeprefix(root.path).lstrip("/")
                    stamp = info.get("ETag") or info.get("LastModified") or info.get("created")
                    found.append((below, int(info["size"]), str(stamp)))
        return sorted(found)

    return guarded(address, listed)
