"""Builders of the tiny base, data and stages of the training tests, also across processes."""

from pathlib import Path
from typing import Any

from components.training.config import BasePaths, StageConfig

IMAGE_PX = 28
PATCHES = 4


def stage(**changes: Any) -> StageConfig:
    """Return a finetune stage of six steps of eight samples in fp32."""
    values: dict[str, Any] = {
        "name": "finetune",
        "train": ("connector", "language_model"),
        "template": "vicuna_v1",
        "learning_rate": 1e-2,
        "global_batch": 8,
        "micro_batch": 2,
        "precision": "fp32",
        "zero_stage": 3,
        "log_every_steps": 1,
        **changes,
    }
    return StageConfig(**values)


def write_base(folder: Path) -> BasePaths:
    """Write a random tower and a random language model with the data tests' tokenizer."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from tests.data.samples import build_tokenizer
    from tests.model.tiny_parts import write_tower

    write_tower("clip", folder / "tower")  # sets the seed of the language model too
    tokenizer = build_tokenizer()
    tokenizer.save_pretrained(folder / "language_model")
    language = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        bos_token_id=1,
        eos_token_id=2,
        tie_word_embeddings=False,
    )
    LlamaForCausalLM(language).save_pretrained(folder / "language_model")
    return BasePaths(
        vision_tower_path=str(folder / "tower"),
        language_model_path=str(folder / "language_model"),
    )


def write_prepared(folder: Path, base: BasePaths) -> Path:
    """Prepare a few captions and a small mixture with the base's own tokenizer."""
    from components.data.config import PrepareConfig
    from components.data.prepare.passes import prepare
    from components.model.tokenizer import load_tokenizer
    from tests.data.samples import ROUND_SOURCES, write_captions, write_mixture

    write_captions(folder / "raw", 24)
    write_mixture(folder / "raw")
    tokenizer, image_token_id = load_tokenizer(base.language_model_path)
    for name in ("pretrain", "finetune"):
        mixture = {} if name == "pretrain" else {"mixture": {"sources": ROUND_SOURCES}}
        config = PrepareConfig(stage=name, image={"size_px": IMAGE_PX}, max_tokens=512, **mixture)
        prepare(config, folder / "raw", tokenizer, image_token_id, PATCHES, folder / name)
    return folder
