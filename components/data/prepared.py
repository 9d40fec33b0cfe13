"""The record that lies beside the shards of prepared data, for whoever trains on them.

In: the folder of `prepare`. Out: its `PreparedData`. Opens no shard.
"""

from pathlib import Path

from components.core.errors import ArtifactError
from components.data.config import PreparedData

RECORD_FILE = "prepared.json"


def write_prepared(folder: Path, prepared: PreparedData) -> None:
    """Write the record; the last file of a prepared folder."""
    text = prepared.model_dump_json(indent=1) + "\n"
    (folder / RECORD_FILE).write_text(text, encoding="utf-8")


def read_prepared(folder: Path | str) -> PreparedData:
    """Return the record of a prepared folder. Raises ArtifactError where there is none."""
    path = Path(folder) / RECORD_FILE
    try:
        return PreparedData.model_validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path}: not prepared data ({error}); run prepare first") from None
