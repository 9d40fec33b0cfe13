"""Model folders on disk: ordinary llava-hf folders with one more file, `lavaflow.json`.

In: a model with its tokenizer, or a folder. Out: a folder that plain transformers, vLLM and SGLang
load (where its connector is theirs, `mlp2x_gelu`), or the loaded model with all that is needed to
prompt it. Only safetensors are read. Training state (optimizer, data position) is not kept here
(see `components.training.checkpoints.checkpointing`).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerBase,
)
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

from components.core.config import parse
from components.core.errors import CheckpointError, ConfigError
from components.data.images import ImageSpec
from components.model.build import patches_per_image
from components.model.connector_names import DEFAULT_CONNECTOR
from components.model.connectors import connector_of, llava_class
from components.model.convert.checks import read_config
from components.model.learning.lora import has_lora
from components.model.tokenizer import chat_template, check_image_token, load_tokenizer
from components.model.vocabulary import IMAGE_TOKEN
from components.model.weights import check_weights

SIDE_FILE = "lavaflow.json"
SCHEMA_VERSION = 1
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Loaded:
    """A model ready to be prompted; `extra` is what the step that made it wrote down (stage,
    recipe, ...).
    """

    model: LlavaForConditionalGeneration
    tokenizer: PreTrainedTokenizerBase
    image_spec: ImageSpec
    template: str
    image_token_id: int
    patches_per_image: int
    pad_token_id: int
    eos_token_id: int
    extra: Mapping[str, Any]


def save(
    model: LlavaForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
    folder: str | Path,
    image_spec: ImageSpec,
    template: str,
    extra: Mapping[str, Any] | None = None,
    state_dict: Mapping[str, torch.Tensor] | None = None,
) -> Path:
    """Write the folder and return its path; weights keep the dtype that they have in memory.

    `state_dict` replaces the model's own weights where those are partitioned (ZeRO-3 gathers them
    first). Raises CheckpointError for a model with LoRA adapters: `load` could not read it back.
    """
    if has_lora(model):
        raise CheckpointError(
            f"{folder}: the model has LoRA adapters, a model folder holds ordinary weights; "
            "merge_lora before saving"
        )
    path = Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    weights = None if state_dict is None else dict(state_dict)
    model.save_pretrained(path, state_dict=weights)
    _processor(model, tokenizer, image_spec, template).save_pretrained(path)
    side = {
        "schema_version": SCHEMA_VERSION,
        "template": template,
        "image_spec": image_spec.canonical(),
        "image_token_id": model.config.image_token_id,
        "patches_per_image": patches_per_image(model.config),
        "connector": connector_of(model.config),
        "extra": dict(extra or {}),
    }
    (path / SIDE_FILE).write_text(json.dumps(side, indent=2) + "\n", encoding="utf-8")
    return path


def load_checkpoint(folder: str | Path, dtype: str = "float32", device: str = "cpu") -> Loaded:
    """Return the model of the folder in evaluation mode, with its tokenizer and prompt settings.

    Raises CheckpointError when a file is missing, damaged, a pickle, or of another shape than the
    configuration says.
    """
    path = Path(folder)
    side, image_spec = _read_side(path)
    check_weights(path)
    if dtype not in DTYPES:
        raise ConfigError(f"dtype {dtype!r} is not known; choose from {', '.join(DTYPES)}")
    # Folders written before there was a choice name no connector.
    model = _load_model(path, side.get("connector", DEFAULT_CONNECTOR), DTYPES[dtype])
    tokenizer, image_token_id = load_tokenizer(path)
    check_image_token(image_token_id, model.config.image_token_id, path)
    if image_spec.size_px != (side_px := model.config.vision_config.image_size):
        raise CheckpointError(
            f"{path / SIDE_FILE}: images are prepared at {image_spec.size_px} px, but the tower "
            f"takes {side_px} px; the folder mixes two models"
        )
    return Loaded(
        model=model.to(device).eval(),
        tokenizer=tokenizer,
        image_spec=image_spec,
        template=side["template"],
        image_token_id=image_token_id,
        patches_per_image=patches_per_image(model.config),
        pad_token_id=int(tokenizer.pad_token_id),
        eos_token_id=int(tokenizer.eos_token_id),
        extra=side.get("extra", {}),
    )


def _load_model(path: Path, connector: str, dtype: torch.dtype) -> LlavaForConditionalGeneration:
    """Load the weights, every one of them accounted for."""
    _check_config(path)
    try:
        model, info = llava_class(connector).from_pretrained(
            path,
            dtype=dtype,
            local_files_only=True,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # refused below, by name
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, KeyError, ConfigError) as error:
        raise CheckpointError(f"{path}: the model cannot be loaded ({error})") from error
    if connector_of(model.config) != connector:
        raise CheckpointError(
            f"{path}: {SIDE_FILE} names the connector {connector!r}, config.json names "
            f"{connector_of(model.config)!r}; the folder mixes two models"
        )
    wrong = sorted(
        str(key)
        for name in ("missing_keys", "unexpected_keys", "mismatched_keys")
        for key in info[name]
    )
    if wrong:
        raise CheckpointError(
            f"{path}: {len(wrong)} weights do not fit the configuration, first {wrong[0]}; "
            "run the step that made this folder again"
        )
    return model


def _check_config(path: Path) -> None:
    """Refuse a configuration with parts left out: transformers puts those of LLaVA-1.5-7B there,
    and would take 28 GB for weights that the folder has not.
    """
    values = json.loads((path / "config.json").read_text(encoding="utf-8"))
    where = f"{path / 'config.json'}: expected the configuration of a LLaVA"
    if (kind := values.get("model_type")) != "llava":
        raise CheckpointError(f"{where}, but 'model_type' is {kind!r}; restore the file")
    for name in ("text_config", "vision_config"):
        if not isinstance(values.get(name), dict):
            raise CheckpointError(f"{where}, but {name!r} is missing; restore the file")
    read_config(path)


def _read_side(path: Path) -> tuple[dict[str, Any], ImageSpec]:
    side_path = path / SIDE_FILE
    if not side_path.is_file():
        raise CheckpointError(
            f"{path}: no {SIDE_FILE}; expected a model folder written by lavaflow"
        )
    try:
        side = json.loads(side_path.read_text(encoding="utf-8"))
        if side["schema_version"] != SCHEMA_VERSION:
            found = side["schema_version"]
            raise CheckpointError(
                f"{side_path}: schema version {found}; this code reads {SCHEMA_VERSION}"
            )
        str(side["template"])
        return side, parse(ImageSpec, side["image_spec"], where="image_spec")
    except (ValueError, KeyError, TypeError, ConfigError) as error:
        raise CheckpointError(
            f"{side_path}: cannot be read ({error!r}); restore the folder"
        ) from error


def _processor(
    model: LlavaForConditionalGeneration,
    tokenizer: PreTrainedTokenizerBase,
    spec: ImageSpec,
    template: str,
) -> LlavaProcessor:
    """Return the processor with which plain transformers prepares the same prompts and images."""
    size = {"height": spec.size_px, "width": spec.size_px}
    image_processor = LlavaImageProcessorPil(
        do_pad=spec.aspect
        == "pad",  # transformers' default centre-crops, unlike stage 2 of LLaVA-1.5
        size={"shortest_edge": spec.size_px},
        crop_size=size,
        image_mean=list(spec.mean),
        image_std=list(spec.std),
    )
    vision = model.config.vision_config
    return LlavaProcessor(
        image_processor=image_processor,
        tokenizer=tokenizer,
        patch_size=vision.patch_size,
        vision_feature_select_strategy=model.config.vision_feature_select_strategy,
        chat_template=chat_template(template, tokenizer.eos_token),
        image_token=IMAGE_TOKEN,
        num_additional_image_tokens=_num_additional(model.config),
    )


def _num_additional(config: LlavaConfig) -> int:
    """What transformers' processor must add to the grid of patches to count our positions.

    1 for CLIP, its class token: with 0 transformers counts one patch too few where it drops that
    (transformers #36002). 0 for SigLIP. Negative for a resampler of fewer queries than patches.
    """
    vision = config.vision_config
    num_patches = (vision.image_size // vision.patch_size) ** 2
    dropped = config.vision_feature_select_strategy == "default"
    return patches_per_image(config) - num_patches + dropped
