"""The shape of a vision tower, read from its folder's config.json without loading any weight.

In: a CLIP or SigLIP tower folder. Out: picture size and number of patches, which prepare needs.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from components.core.errors import CheckpointError, ConfigError


@dataclass(frozen=True)
class TowerShape:
    """Side of the square input and of a patch, in pixels."""

    folder: str
    image_px: int
    patch_px: int

    def patches_per_image(self, select: str) -> int:
        """Positions that one picture takes: `default` drops the class token, `full` keeps it."""
        return (self.image_px // self.patch_px) ** 2 + (select == "full")

    def check_image_size(self, size_px: int) -> None:
        """Raise ConfigError when pictures are prepared at another size than the tower takes."""
        if size_px != self.image_px:
            raise ConfigError(
                f"pictures are prepared at {size_px} px, but the tower {self.folder} takes "
                f"{self.image_px} px; set image.size_px={self.image_px} in both data sections"
            )


def read_tower(folder: str | Path) -> TowerShape:
    """Return the shape of the tower in the folder, or raise CheckpointError when it has none."""
    path = Path(folder) / "config.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        values = values.get("vision_config") or values
        return TowerShape(str(folder), int(values["image_size"]), int(values["patch_size"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path}: not the configuration of a vision tower ({error!r}); "
            "expected image_size and patch_size"
        ) from None
