"""Tiny random towers and language models of each kind that a LLaVA may be built of, on disk."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    SiglipVisionConfig,
    SiglipVisionModel,
)

IMAGE_PX = 28
SENTENCES = ["what is in the image ? a red dog . USER: ASSISTANT: yes no"] * 5

LANGUAGE_MODELS = ("llama", "mistral", "qwen2", "qwen3")
TOWERS = ("clip", "siglip")
CONNECTORS = ("linear", "mlp1x_gelu", "mlp2x_gelu", "mlp3x_gelu", "identity", "resampler3")


def write_tower(kind: str, folder: Path, width: int = 16) -> Path:
    """Write a tower of three layers that sees four patches."""
    torch.manual_seed(1)
    config, model = {
        "clip": (CLIPVisionConfig, CLIPVisionModel),
        "siglip": (SiglipVisionConfig, SiglipVisionModel),
    }[kind]
    values = {
        "hidden_size": width,
        "intermediate_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 2,
        "image_size": IMAGE_PX,
        "patch_size": 14,
    }
    model(config(**values)).save_pretrained(folder)
    return folder


def write_language_model(kind: str, folder: Path, tokenizer: PreTrainedTokenizerFast) -> Path:
    """Write a language model of two layers with grouped keys; Qwen2's embeddings are tied."""
    torch.manual_seed(2)
    tokenizer.save_pretrained(folder)
    config, model = {
        "llama": (LlamaConfig, LlamaForCausalLM),
        "mistral": (MistralConfig, MistralForCausalLM),
        "qwen2": (Qwen2Config, Qwen2ForCausalLM),
        "qwen3": (Qwen3Config, Qwen3ForCausalLM),
    }[kind]
    values = {
        "vocab_size": len(tokenizer) if kind in ("llama", "mistral") else 512,  # Qwen has room left
        "hidden_size": 24,
        "intermediate_size": 40,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "initializer_range": 0.3,  # large, so that the choices of a random model are clear-cut
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "tie_word_embeddings": kind == "qwen2",
    }
    if kind == "mistral":
        values["sliding_window"] = 6  # shorter than the rows of the tests
    if kind == "qwen3":
        values["head_dim"] = 8  # heads wider than width / heads, as Qwen3 has
    model(config(**values)).save_pretrained(folder)
    return folder


def byte_level_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer as Qwen's: bytes, no unknown, begin or padding token, an end of its own."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(SENTENCES, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|endoftext|>")


def metaspace_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer as Llama's: SentencePiece's spaces, bytes as a fallback."""
    backend = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    backend.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<unk>", "<s>", "</s>", *[f"<0x{value:02X}>" for value in range(256)]],
        show_progress=False,
    )
    backend.train_from_iterator(SENTENCES, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )


def tokenizer_of(kind: str) -> PreTrainedTokenizerFast:
    """The tokenizer that a language model of this kind comes with."""
    return byte_level_tokenizer() if kind.startswith("qwen") else metaspace_tokenizer()
