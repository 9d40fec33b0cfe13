"""A raw folder that exists already, as an input artifact of the chain.

In: a recipe with `raw_uri`. Out: a `RawData` record whose digest is made of the names, sizes and
times of the annotation files and of the image folders' listings; images are checked one by one when
they are prepared.
"""

import hashlib
import json
from pathlib import Path

from components.core.errors import ConfigError
from components.data.pocket.config import RawData
from workflows.config import PipelineConfig

ANNOTATIONS = (".json", ".jsonl", ".ndjson", ".tsv", ".p", ".txt", ".csv", ".parquet")


def read_raw(recipe: PipelineConfig, cache_path: Path) -> RawData | None:
    """Return the record of the recipe's raw folder, or None when the pocket world is to be drawn.

    Raises ConfigError when the folder is missing, or when the recipe has neither.
    """
    if recipe.raw_uri is None:
        if recipe.pocket is None:
            raise ConfigError(
                f"recipe {recipe.name} needs the raw data: --set raw_uri=FOLDER with the public "
                "annotation files and images (the layout is in the README)"
            )
        return None
    root = Path(recipe.raw_uri).expanduser().resolve()
    if not root.is_dir():
        raise ConfigError(f"raw_uri: {root} is no folder; set it to the folder of the raw data")
    listing = [
        [str(path.relative_to(root)), path.stat().st_size, path.stat().st_mtime_ns]
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.suffix in ANNOTATIONS
    ]
    digest = hashlib.sha256(json.dumps(listing).encode()).hexdigest()
    return RawData(uri=str(root), digest=digest, num_rows={}, num_images=0)
