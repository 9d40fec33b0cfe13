"""The configuration and tokenizer of the original LLaVA layout, from ours and back.

In: our configuration, or the original's config.json. Out: the other one. Only what LLaVA-1.5 is
made of is known here: a Llama, a CLIP tower, the `mlp2x_gelu` connector; anything else is refused.

Reference: llava/model/llava_arch.py, language_model/llava_llama.py and scripts/v1_5/finetune.sh
(haotian-liu/LLaVA c121f043); the fields are those of liuhaotian/llava-v1.5-7b.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

from transformers import LlamaConfig, LlavaConfig, PretrainedConfig

from components.core.errors import CheckpointError
from components.data.images import ImageSpec
from components.model.build import patches_per_image
from components.model.connector_names import DEFAULT_CONNECTOR
from components.model.convert.checks import read_config
from components.model.convert.keys import is_of_connector

MODEL_TYPES = ("llava_llama", "llava")
"""c121f043 registers `llava_llama`. Older folders say `llava`, which now is transformers' own LLaVA
to everybody else; it is read but not written."""
CLIP_NAME = "openai/clip-vit-large-patch14-336"
"""The tower of LLaVA-1.5. transformers' LlavaConfig has its shape as default."""
MAX_TOKENS = 2048
"""`--model_max_length` of scripts/v1_5/finetune.sh; the original cuts sequences there."""
ASPECTS = {"pad": "pad", "square": "crop"}
"""`image_aspect_ratio` (original's default: square) and our name for it."""
SELECTS = {"patch": "default", "cls_patch": "full"}
"""`mm_vision_select_feature` and transformers' name for it."""

_NOT_OF_LLAMA = ("mm_", "tune_mm", "freeze_mm", "unfreeze_mm", "use_mm", "image_", "tokenizer_")
_NOT_KEPT = ("architectures", "model_type", "_name_or_path", "transformers_version", "vision_tower")


def original_config(
    config: LlavaConfig, spec: ImageSpec, num_rows: int, unknown_id: int | None, where: Path
) -> dict[str, Any]:
    """Return the original's config.json of a model whose vocabulary is cut to `num_rows`.

    Raises CheckpointError for what the original's code cannot express.
    """
    text, vision = config.text_config, config.vision_config
    _check_expressible(config, where)
    dtype = str(config.dtype or "float32").removeprefix("torch.")
    return {
        "architectures": ["LlavaLlamaForCausalLM"],
        "model_type": MODEL_TYPES[0],
        **{
            name: getattr(text, name)
            for name in (
                *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
                *("num_key_value_heads", "hidden_act", "rms_norm_eps", "max_position_embeddings"),
                *("initializer_range", "attention_bias", "bos_token_id", "eos_token_id"),
                *("tie_word_embeddings", "use_cache"),
            )
        },
        "pad_token_id": unknown_id,  # the original pads with <unk>
        "pretraining_tp": 1,
        **_rope(text, where),
        "torch_dtype": dtype,
        "vocab_size": num_rows,
        "mm_hidden_size": vision.hidden_size,
        "mm_projector_type": DEFAULT_CONNECTOR,
        "mm_vision_tower": _tower_name(vision),
        "mm_vision_select_layer": config.vision_feature_layer,
        "mm_vision_select_feature": _reverse(SELECTS)[config.vision_feature_select_strategy],
        "mm_use_im_start_end": False,
        "mm_use_im_patch_token": False,
        "image_aspect_ratio": _reverse(ASPECTS)[spec.aspect],
        "tokenizer_padding_side": "right",
        "tokenizer_model_max_length": min(MAX_TOKENS, text.max_position_embeddings),
        "use_mm_proj": True,
        "tune_mm_mlp_adapter": False,
        "freeze_mm_mlp_adapter": False,
        # Makes the original's loader take the tower that lies here; with false it fetches
        # `mm_vision_tower` in its place, which may not be the one that this model was trained with.
        "unfreeze_mm_vision_tower": True,
    }


def llava_config(
    original: Mapping[str, Any],
    text: PretrainedConfig,
    vision: PretrainedConfig,
    num_rows: int,
    image_token_id: int,
    pad_token_id: int,
) -> LlavaConfig:
    """Return our configuration, as `build_llava` makes it of the same parts.

    `original` are the checked values of the original's config.json.
    """
    text.vocab_size = num_rows
    text.pad_token_id = pad_token_id
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=image_token_id,
        vision_feature_layer=original.get("mm_vision_select_layer", -2),
        vision_feature_select_strategy=SELECTS[original.get("mm_vision_select_feature", "patch")],
        tie_word_embeddings=bool(text.tie_word_embeddings),
    )
    config.image_seq_length = patches_per_image(config)
    return config


def layout_of(
    folder: Path, values: Mapping[str, Any], keys: Iterable[str]
) -> Literal["original", "connector", "llava-hf"]:
    """Return the layout of a folder with this config.json and weights.

    Raises CheckpointError when it is none that can be converted.
    """
    where = folder / "config.json"
    if "mm_projector_type" in values or "mm_vision_tower" in values:
        _check_original(values, where)
        return "connector" if all(is_of_connector([key]) for key in keys) else "original"
    if values.get("model_type") == "llava":
        return "llava-hf"
    raise CheckpointError(
        f"{where}: model_type {values.get('model_type')!r} without the original's "
        "mm_projector_type; expected a LLaVA-1.5 in the original layout or that of llava-hf"
    )


def original_image_spec(
    values: Mapping[str, Any], vision: PretrainedConfig, colours: Mapping[str, Any]
) -> ImageSpec:
    """Return how the original shows images: at the tower's size, padded or cut.

    `colours` is the preprocessor_config.json of the tower, empty for CLIP's own.
    """
    spec = ImageSpec(
        size_px=vision.image_size, aspect=ASPECTS[values.get("image_aspect_ratio", "square")]
    )
    names = {"mean": "image_mean", "std": "image_std"}
    given = {ours: colours[theirs] for ours, theirs in names.items() if theirs in colours}
    return spec.with_(**given)


def text_config_of(values: Mapping[str, Any], where: Path) -> LlamaConfig:
    """Return the Llama's configuration in the original's config.json."""
    kept = {
        name: value
        for name, value in values.items()
        if not name.startswith(_NOT_OF_LLAMA) and name not in _NOT_KEPT and value is not None
    }
    try:
        text = LlamaConfig.from_dict({**kept, "architectures": ["LlamaForCausalLM"]})
    except Exception as error:  # transformers raises many kinds
        raise CheckpointError(
            f"{where}: not the configuration of a Llama ({error}); restore the file"
        ) from error
    assert isinstance(text, LlamaConfig)
    return text


def tower_config_of(name: str | None, vision_tower_path: Path | None, where: Path) -> Any:
    """Return the tower's configuration: of the folder given, or by the name of LLaVA-1.5's."""
    if vision_tower_path is None and name == CLIP_NAME:
        return LlavaConfig().vision_config
    if vision_tower_path is None:
        raise CheckpointError(
            f"{where}: the tower {name!r} is not described in the folder; "
            "give its folder with --vision-tower"
        )
    config = read_config(vision_tower_path)
    return getattr(config, "vision_config", None) or config


def _check_original(values: Mapping[str, Any], where: Path) -> None:
    """Raise CheckpointError for an original folder that is not a LLaVA-1.5."""
    connector = values.get("mm_projector_type", "linear")  # the original's own default
    if connector != DEFAULT_CONNECTOR:
        raise CheckpointError(
            f"{where}: mm_projector_type is {connector!r}; only {DEFAULT_CONNECTOR!r} (LLaVA-1.5) "
            "can be converted"
        )
    if values.get("model_type") not in MODEL_TYPES:
        raise CheckpointError(
            f"{where}: model_type is {values.get('model_type')!r}; expected one of "
            f"{', '.join(MODEL_TYPES)} (a Llama); other language models cannot be converted"
        )
    for name in ("mm_use_im_start_end", "mm_use_im_patch_token"):
        if values.get(name, False):
            raise CheckpointError(
                f"{where}: {name} is true, so it was trained with prompts of another form; "
                "expected false, as in LLaVA-1.5"
            )
    layer = values.get("mm_vision_select_layer", -2)
    if not isinstance(layer, int):
        raise CheckpointError(
            f"{where}: mm_vision_select_layer is {layer!r}; expected a number (LLaVA-1.5: -2)"
        )
    for name, known in (
        ("image_aspect_ratio", ASPECTS),
        ("mm_vision_select_feature", SELECTS),
    ):
        if values.get(name, next(iter(known))) not in known:
            raise CheckpointError(
                f"{where}: {name} is {values[name]!r}; expected {' or '.join(known)} (LLaVA-1.5)"
            )


def _check_expressible(config: LlavaConfig, where: Path) -> None:
    """The original's transformers (4.37) has a plain Llama; its code reads one layer of a CLIP."""
    text, vision = config.text_config, config.vision_config
    plain = (
        text.model_type == "llama"
        and not getattr(text, "mlp_bias", False)
        and text.head_dim * text.num_attention_heads == text.hidden_size
    )
    if not plain or vision.model_type != "clip_vision_model":
        raise CheckpointError(
            f"{where}: a {text.model_type} with a {vision.model_type}; the original layout is for "
            "a plain llama with a clip_vision_model; export with --layout llava-hf"
        )
    if not isinstance(config.vision_feature_layer, int):
        raise CheckpointError(
            f"{where}: reads the tower's layers {config.vision_feature_layer}; the original reads "
            "one; export with --layout llava-hf"
        )


def _rope(text: PretrainedConfig, where: Path) -> dict[str, Any]:
    """Rotary positions in the two fields that the original's transformers reads."""
    rope = dict(text.rope_parameters)
    kind = rope.get("rope_type", "default")
    theta = rope.get("rope_theta", 10000.0)
    if kind == "default":
        return {"rope_theta": theta, "rope_scaling": None}
    if kind in ("linear", "dynamic"):
        return {"rope_theta": theta, "rope_scaling": {"type": kind, "factor": rope["factor"]}}
    raise CheckpointError(
        f"{where}: rotary positions of the kind {kind!r}; the original knows default, linear and "
        "dynamic; export with --layout llava-hf"
    )


def _tower_name(vision: PretrainedConfig) -> str:
    """The hub's name for a tower of LLaVA-1.5's shape, else where it was read from."""
    known = LlavaConfig().vision_config
    shape = ("hidden_size", "num_hidden_layers", "num_attention_heads", "patch_size", "image_size")
    if all(getattr(vision, name) == getattr(known, name) for name in shape):
        return CLIP_NAME
    return str(getattr(vision, "_name_or_path", "") or "vision_tower")


def _reverse(names: Mapping[str, str]) -> dict[str, str]:
    return {ours: theirs for theirs, ours in names.items()}
