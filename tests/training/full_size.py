"""The stages and sizes of LLaVA-1.5 7B, for what is computed and not run."""

import json
from pathlib import Path
from typing import Any

from components.model.sizes.shapes import LlavaShapes, read_shapes
from components.training.config import StageConfig
from tests.model.real_bases import CLIP_L

# 7B: width 4096, 32 layers, feed-forward 11,008. 21 M of connector and 6,739 M of language model
# learn in stage 2; the frozen tower has 303.5 M.
D, F, LAYERS = 4096, 11_008, 32
LEARNING, FROZEN = 20_979_712 + 6_738_939_904, 303_507_456


def pretrain(**changes: Any) -> StageConfig:
    """Stage 1 on 8 GPUs."""
    values: dict[str, Any] = {
        "name": "pretrain",
        "train": ("connector",),
        "template": "plain",
        "learning_rate": 1e-3,
        "global_batch": 256,
        "micro_batch": 32,
        "zero_stage": 2,
        "num_workers": 8,
        "num_gpus_per_worker": 1,
    }
    return StageConfig(**{**values, **changes})


def finetune(**changes: Any) -> StageConfig:
    """Stage 2 on 8 GPUs."""
    values: dict[str, Any] = {
        "name": "finetune",
        "train": ("connector", "language_model"),
        "template": "vicuna_v1",
        "learning_rate": 2e-5,
        "global_batch": 128,
        "micro_batch": 16,
        "zero_stage": 3,
        "num_workers": 8,
        "num_gpus_per_worker": 1,
    }
    return StageConfig(**{**values, **changes})


def shapes_under_clip(root: Path) -> LlavaShapes:
    """Sizes of the language model in a folder below, under CLIP-L/14-336."""
    (root / "tower").mkdir()
    (root / "tower" / "config.json").write_text(json.dumps(CLIP_L))
    return read_shapes(root / "tower", root / "language")
