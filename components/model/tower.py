"""The shape of a vision tower, read from its configuration without loading any weight.

In: a CLIP or SigLIP tower folder. Out: image size and number of positions, which prepare needs,
and whether a layer can be read, so that a wrong one costs no time.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from components.core.errors import CheckpointError, ConfigError
from components.model.connector_names import DEFAULT_CONNECTOR, parse_connector

SELECTS = ("default", "full")
"""Which of the tower's outputs are read, by transformers' names: without or with a class token."""

_DEFAULT_SIZES = {"clip": (224, 32, 12), "siglip": (224, 16, 12)}
"""Image and patch sizes and layers that transformers assumes where a folder's configuration
leaves them out (the defaults of CLIPVisionConfig and SiglipVisionConfig in 5.23)."""


@dataclass(frozen=True)
class TowerShape:
    """Side of the square input and of a patch, in pixels; whether a class token comes first; number
    of layers.
    """

    folder: str
    image_px: int
    patch_px: int
    has_class_token: bool = True
    num_layers: int | None = None
    """None where the configuration of an unknown kind does not say."""

    def patches_per_image(self, select: str, connector: str = DEFAULT_CONNECTOR) -> int:
        """Positions that one image takes: `default` drops the class token, `full` keeps it.

        Raises ConfigError for an unknown selection or connector, and where there is no class token
        to drop: `default` would throw the first patch of the image away.
        """
        if select not in SELECTS:
            raise ConfigError(
                f"select={select!r} is not known; choose base.select from {', '.join(SELECTS)}"
            )
        if select == "default" and not self.has_class_token:
            raise ConfigError(
                f"select='default' drops a class token, but the tower {self.folder} has none "
                "(SigLIP); set base.select=full"
            )
        num_patches = (self.image_px // self.patch_px) ** 2
        if select == "full" and self.has_class_token:
            num_patches += 1
        return parse_connector(connector).num_positions(num_patches)

    def check_feature_layer(self, layer: int) -> None:
        """Raise ConfigError for a layer that the tower has not, where their number is known."""
        if self.num_layers is not None:
            hidden_state(layer, self.num_layers)

    def check_image_size(self, size_px: int) -> None:
        """Raise ConfigError when images are prepared at another size than the tower takes."""
        if size_px != self.image_px:
            raise ConfigError(
                f"images are prepared at {size_px} px, but the tower {self.folder} takes "
                f"{self.image_px} px; set image.size_px={self.image_px} in both data sections"
            )


def read_tower(folder: str | Path) -> TowerShape:
    """Return the shape of the tower in the folder, or raise CheckpointError when it has none."""
    path = Path(folder) / "config.json"
    try:
        whole = json.loads(path.read_text(encoding="utf-8"))
        values = whole.get("vision_config") or whole
        kind = str(values.get("model_type") or whole.get("model_type") or "")
        defaults = _DEFAULT_SIZES.get(kind.split("_")[0], (None, None, None))
        image_px, patch_px, num_layers = defaults
        return TowerShape(
            str(folder),
            int(values.get("image_size", image_px)),
            int(values.get("patch_size", patch_px)),
            has_class_token(kind),
            values.get("num_hidden_layers", num_layers),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path}: not the configuration of a vision tower ({error!r}); "
            "expected image_size and patch_size"
        ) from None


def hidden_state(layer: int, num_layers: int) -> int:
    """Return which hidden state of a tower a layer is: n is the output of the n-th, 0 their input.

    Negative ones count from the last layer, -1. Raises ConfigError where there is no such layer:
    as the bound of a slice any number would give something.
    """
    state = layer if layer >= 0 else num_layers + 1 + layer
    if not 0 <= state <= num_layers:
        raise ConfigError(
            f"feature_layer={layer}: the tower has {num_layers} layers; expected 0 to "
            f"{num_layers}, or -1 to -{num_layers + 1}; set base.feature_layer (LLaVA-1.5: -2)"
        )
    return state


def has_class_token(kind: str) -> bool:
    """Whether a tower of this `model_type` puts a class token before its patches, as CLIP does."""
    return not kind.startswith("siglip")
