"""The tiny base as a chain of one step: `lavaflow run tiny_base` rebuilds what is shipped in this
folder.

In: the recipe's `TinyBaseConfig`. Out: an artifact with `vision_tower/` and `language_model/`
folders.
"""

from collections.abc import Sequence
from typing import Any

from components.core.artifact import Artifact
from components.core.config import override
from workflows.steps import Chain, Handle, StepContext
from workflows.tiny_base.config import TinyBaseConfig


class TinyBase(Artifact):
    """The two folders of the tiny base."""


def tiny_base_recipe(assignments: Sequence[str] = ()) -> TinyBaseConfig:
    """Return the recipe with overrides applied."""
    from workflows.tiny_base.recipe import tiny_base

    return override(tiny_base(), assignments)


def add_tiny_base(chain: Chain, config: TinyBaseConfig) -> Handle:
    """Add the one step. It uses all cores, so it reserves two."""
    return chain.add(
        "tiny-base",
        build_base,
        config=config,
        returns=TinyBase,
        num_cpus=2,
    )


def build_base(config: TinyBaseConfig, inputs: dict[str, Any], context: StepContext) -> TinyBase:
    """Step function of `tiny-base`."""
    from workflows.tiny_base.build import build_tiny_base

    build_tiny_base(context.output_path, config)
    return TinyBase()
