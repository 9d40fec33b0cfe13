"""What both sides of `training` work on: the tiny recipe's stages, data and model.

In: a folder. Out: prepared data there, an opened model, its batches over and over.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from components.training.config import BasePaths, StageConfig
from components.training.materials import Materials, OpenedModel
from workflows.recipes.tiny import BASE, tiny

GLOBAL_BATCH = 32
console = Console(width=100)


@dataclass(frozen=True)
class Speed:
    """What a run of some steps reached."""

    samples_per_s: float
    tokens_per_s: float


def prepare_data(folder: Path) -> None:
    """Draw a small pocket world and prepare both stages with the tiny recipe's settings."""
    from components.data.pocket.world import write_world
    from components.data.prepare.passes import prepare
    from components.model.tokenizer import load_tokenizer
    from components.model.tower import read_tower

    recipe = tiny()
    assert recipe.pocket is not None
    with console.status("Drawing and preparing the data"):
        write_world(recipe.pocket, folder / "raw")
        tokenizer, image_token_id = load_tokenizer(BASE / "language_model")
        patches = read_tower(BASE / "vision_tower").patches_per_image("default")
        for config in (recipe.pretrain_data, recipe.finetune_data):
            prepare(
                config, folder / "raw", tokenizer, image_token_id, patches, folder / config.stage
            )


def stage_of(name: str) -> StageConfig:
    """Return the tiny recipe's stage."""
    recipe = tiny()
    stage = recipe.pretrain if name == "pretrain" else recipe.finetune
    return stage.with_(global_batch=GLOBAL_BATCH, micro_batch=GLOBAL_BATCH)


def opened(
    folder: Path, name: str, precision: Literal["bf16", "fp32"] = "bf16"
) -> tuple[Materials, OpenedModel, StageConfig]:
    """Return the stage's model, frozen as the stage says."""
    config = stage_of(name).with_(precision=precision)
    base = BasePaths(
        vision_tower_path=str(BASE / "vision_tower"),
        language_model_path=str(BASE / "language_model"),
    )
    materials = Materials(base, str(folder / name))
    model = materials.open_model(config)
    model.set_up(config)
    model.model.train()
    return materials, model, config


def endless(materials: Materials, model: OpenedModel, config: StageConfig) -> Iterator[Any]:
    """Yield the stage's batches over and over."""
    while True:
        yield from materials.open_batches(model, config, 0, 1).batches()
