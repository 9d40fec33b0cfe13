"""Settings of the tiny base: shapes and training of the tower, the tokenizer and the language
model.

Schemas only; the values stand in `recipe.py`.
"""

from components.core.config import Config


class VisionConfig(Config):
    """The tiny CLIP tower and its contrastive training."""

    hidden_size: int
    """Width of the tower."""
    intermediate_size: int
    """Width of its MLP."""
    num_layers: int
    """Transformer layers; a connector reads the last but one."""
    num_heads: int
    """Attention heads."""
    text_width: int
    """Width of the joint embedding and of the throw-away text encoder."""
    text_layers: int
    """Layers of the throw-away text encoder."""
    batch_size: int
    """Images per step."""
    num_steps: int
    """Optimizer steps."""
    warmup_steps: int
    """Steps of linear warm-up."""
    learning_rate: float
    """Peak learning rate (AdamW)."""
    log_every_steps: int = 20
    """Steps between reported losses."""


class LanguageConfig(Config):
    """The tiny Llama, its tokenizer and its training on text."""

    vocab_size: int
    """Tokens of the byte-pair encoding; two more (image, padding) fill the table to a multiple of
    64.
    """
    tokenizer_samples: int
    """Conversations that the encoding is trained on."""
    hidden_size: int
    """Width of the model."""
    intermediate_size: int
    """Width of its gated MLP."""
    num_layers: int
    """Transformer layers."""
    num_heads: int
    """Attention heads."""
    embedding_std: float
    """Standard deviation of fresh token embeddings: about the scale of a fresh connector's outputs.
    """
    tokens_per_batch: int
    """Positions per step, padding included."""
    num_steps: int
    """Optimizer steps."""
    warmup_steps: int
    """Steps of linear warm-up."""
    learning_rate: float
    """Peak learning rate of embeddings, norms and output head (AdamW)."""
    muon_learning_rate: float
    """Peak learning rate of the layers' matrices (Muon)."""
    evaluate_every_steps: int = 200
    """Steps between measurements on scenes of the evaluation split."""
    log_every_steps: int = 20
    """Steps between reported losses."""


class TinyBaseConfig(Config):
    """Everything that decides what the tiny base is."""

    vision: VisionConfig
    language: LanguageConfig
    seed: int
    """Seed of both trainings, of the scenes and of the text."""
