"""Random LLaVA models for `gpu_training.py`, and how many layers of one a GPU holds.

In: the name of a size, a device. Out: its sizes as `LlavaShapes`, and a model with random weights
made on the device itself. Nothing is downloaded or read from a disk.
"""

from dataclasses import dataclass, replace

import torch
from transformers import (
    AutoModelForImageTextToText,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

from components.model.connector_names import DEFAULT_CONNECTOR, parse_connector
from components.model.sizes.part_shapes import ConnectorShape, LanguageShape, VisionShape
from components.model.sizes.shapes import LlavaShapes

NEW_ROWS = 64
"""Rows behind the language model's own: image token, pad token, and none (`ROW_MULTIPLE`)."""
ROOM = 16 * 2**30
"""Bytes left for activations and logits where not all layers fit. Both sides need some 10 GiB."""
STATIC_BYTES = 18
"""Per learning parameter: weight 2, gradient 4, master 4, moments 8 (`master_weights.py`)."""
FROZEN_BYTES = 2


@dataclass(frozen=True)
class Size:
    """A model and the longest sample it is trained on."""

    shapes: LlavaShapes
    max_tokens: int
    """Positions after which a sample is cut. Original: 2048."""
    text_scale: float = 1.0
    """What the assumed lengths of texts are multiplied by; below 1 for a tiny model alone."""

    @property
    def image_token(self) -> int:
        """Id of the image token; the pad token is the next one."""
        return self.shapes.language.rows - NEW_ROWS


def _shapes(
    layers: int, width: int, ffn_width: int, heads: int, rows: int, vision: VisionShape
) -> LlavaShapes:
    language = LanguageShape(
        kind="llama",
        layers=layers,
        width=width,
        ffn_width=ffn_width,
        heads=heads,
        kv_heads=heads,
        head_width=width // heads,
        rows=rows,
        tied=False,
        biases=0,
        head_norms=False,
    )
    connector = ConnectorShape(parse_connector(DEFAULT_CONNECTOR), vision.width, width)
    # Feature layer -2: of L layers the output of the last but one is read.
    return LlavaShapes(language, vision, connector, (vision.layers - 1,), "default")


_CLIP_L_336 = VisionShape("clip_vision_model", 24, 1024, 4096, 336, 14, 3, False)
_CLIP_TINY = VisionShape("clip_vision_model", 3, 32, 64, 56, 14, 3, False)

# Sizes of lmsys/vicuna-7b-v1.5 and -13b-v1.5 (their config.json) with openai/clip-vit-large-
# patch14-336; rows as in llava-hf's checkpoints.
SIZES = {
    "7b": Size(_shapes(32, 4096, 11008, 32, 32064, _CLIP_L_336), 2048),
    "13b": Size(_shapes(40, 5120, 13824, 40, 32064, _CLIP_L_336), 2048),
    "tiny": Size(_shapes(2, 64, 128, 4, 384, _CLIP_TINY), 96, 0.15),
}


def fitting(size: Size, train: tuple[str, ...], memory_bytes: int | None) -> Size:
    """Return the size with as many layers as leave ROOM in so much memory; None: all of them."""
    shapes = size.shapes
    language = shapes.language
    for layers in range(language.layers, 0, -1):
        fewer = replace(shapes, language=replace(language, layers=layers))
        if memory_bytes is None or static_bytes(fewer, train) + ROOM <= memory_bytes:
            return replace(size, shapes=fewer)
    raise SystemExit(f"not even one layer leaves {ROOM / 2**30:.0f} GiB of {memory_bytes:,} bytes")


def static_bytes(shapes: LlavaShapes, train: tuple[str, ...]) -> int:
    """Return the bytes that stay: weights, and of what learns gradients, masters and moments."""
    learning = shapes.learning(train)
    return STATIC_BYTES * learning + FROZEN_BYTES * (shapes.total - learning)


def random_llava(
    size: Size, device: torch.device, dtype: torch.dtype, seed: int
) -> LlavaForConditionalGeneration:
    """Return a model with transformers' fresh weights, never on the CPU on its way to a GPU."""
    language, vision = size.shapes.language, size.shapes.vision
    text = LlamaConfig(
        vocab_size=language.rows,
        hidden_size=language.width,
        intermediate_size=language.ffn_width,
        num_hidden_layers=language.layers,
        num_attention_heads=language.heads,
        num_key_value_heads=language.kv_heads,
        max_position_embeddings=4096,
        rms_norm_eps=1e-5,
        pad_token_id=size.image_token + 1,
        tie_word_embeddings=False,
    )
    tower = CLIPVisionConfig(
        hidden_size=vision.width,
        intermediate_size=vision.ffn_width,
        num_hidden_layers=vision.layers,
        num_attention_heads=max(1, vision.width // 64),
        image_size=vision.image_px,
        patch_size=vision.patch_px,
    )
    config = LlavaConfig(
        vision_config=tower,
        text_config=text,
        image_token_index=size.image_token,
        vision_feature_layer=-2,
        vision_feature_select_strategy="default",
        tie_word_embeddings=False,
    )
    torch.manual_seed(seed)
    with torch.device(device):
        return AutoModelForImageTextToText.from_config(
            config, dtype=dtype, attn_implementation="sdpa"
        ).train()
