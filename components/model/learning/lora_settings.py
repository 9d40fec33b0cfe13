"""The settings of LoRA: light, so that a recipe that has them is parsed without torch.

In: values from a recipe. Out: frozen, checked settings. The adapters are in `lora.py`. Reference:
scripts/v1_5/finetune_lora.sh and llava/train/train.py of LLaVA at c121f043.
"""

from pydantic import Field

from components.core.config import Config


class LoraSettings(Config):
    """Low-rank adapters on the linear layers of the language model."""

    rank: int = Field(default=128, gt=0)
    """Rank of each adapter. Original: 128 (`--lora_r 128`)."""
    alpha: int = Field(default=256, gt=0)
    """An adapter's output is scaled by alpha / rank. Original: 256 (`--lora_alpha 256`)."""
    dropout: float = Field(default=0.05, ge=0, lt=1)
    """Share of an adapter's inputs dropped in training. Original: 0.05 (train.py's default)."""
