"""The recipe `tiny_base`: every value of the shipped tiny base, with where it comes from.

Sizes follow from two limits: both folders together stay below 10 MB in bfloat16, and the two LLaVA
stages that start from them fit some minutes on two cores. Learning rates and lengths were found by
trial on two cores (see the model card for the figures they gave).
"""

from workflows.tiny_base.config import LanguageConfig, TinyBaseConfig, VisionConfig


def tiny_base() -> TinyBaseConfig:
    """The tower (1.9 M parameters) and the language model (2.9 M) of the recipe `tiny`."""
    return TinyBaseConfig(
        seed=7,
        vision=VisionConfig(
            hidden_size=192,
            intermediate_size=768,  # four times the width, as in CLIP
            num_layers=4,
            num_heads=4,
            text_width=128,
            text_layers=1,
            batch_size=64,
            num_steps=1500,  # patches name their object at 97% after 260 steps, at 99.9% after 1500
            warmup_steps=60,
            learning_rate=1e-3,
        ),
        language=LanguageConfig(
            vocab_size=1022,  # with <image> and <pad> 1024 rows, a multiple of 64
            tokenizer_samples=12_000,
            hidden_size=192,
            intermediate_size=480,  # 2.5 times the width; fills what is left of the 10 MB
            num_layers=6,
            num_heads=6,
            embedding_std=0.2,  # about the scale of a fresh connector's outputs
            tokens_per_batch=2560,
            num_steps=7000,  # 45 minutes on two quiet cores
            warmup_steps=60,
            learning_rate=8e-3,
            evaluate_every_steps=500,
            muon_learning_rate=0.012,  # 0.01 and 0.02 did equally well over 300 steps of captions
        ),
    )
