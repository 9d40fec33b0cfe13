"""The names of the connectors, and how many positions an image takes behind each of them.

In: a name out of a recipe or a model folder. Out: what it stands for. Nothing heavy is imported, so
that prepare knows the length of its samples without a model; the modules are in `connectors.py`.
Reference: LLaVA's `build_vision_projector` (linear, mlpNx_gelu, identity) at c121f043.
"""

import re
from dataclasses import dataclass
from typing import Literal

from components.core.errors import ConfigError

DEFAULT_CONNECTOR = "mlp2x_gelu"
"""The connector of LLaVA-1.5, and the only one that transformers' LLaVA itself knows."""
CONNECTORS = (
    "linear",
    "mlp2x_gelu (or another count of linears, such as mlp3x_gelu)",
    "identity",
    "resampler256 (or another count of queries, such as resampler64)",
)
"""What can be chosen, for people to read."""


@dataclass(frozen=True)
class ConnectorKind:
    """What a name stands for; `count` is the number of linears, or of queries."""

    kind: Literal["mlp", "identity", "resampler"]
    count: int = 0

    def num_positions(self, num_patches: int) -> int:
        """Positions of the language model's sequence that an image of so many patches takes."""
        return self.count if self.kind == "resampler" else num_patches


def parse_connector(name: str) -> ConnectorKind:
    """Return what the name stands for, or raise ConfigError with the names that are known."""
    if name == "linear":
        return ConnectorKind("mlp", 1)
    if name == "identity":
        return ConnectorKind("identity")
    if match := re.fullmatch(r"mlp([1-9][0-9]*)x_gelu", name):
        return ConnectorKind("mlp", int(match[1]))
    if match := re.fullmatch(r"resampler([1-9][0-9]*)", name):
        return ConnectorKind("resampler", int(match[1]))
    raise ConfigError(
        f"connector {name!r} is not known; choose from {', '.join(CONNECTORS)}, "
        "and set base.connector to it"
    )
