"""Assembly of a LLaVA model from a vision tower folder and a language model folder.

In: two ordinary Hugging Face folders (a CLIP or SigLIP tower, any causal language model). Out:
transformers' `LlavaForConditionalGeneration` in fp32 with a fresh connector, and its tokenizer.
Nothing is trained or frozen here. Reference: the llava-hf conversion (image and pad tokens, rows
resized to a multiple of 64).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    CLIPVisionModel,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    SiglipVisionModel,
)

from components.core.errors import CheckpointError, ConfigError
from components.model.connector_names import DEFAULT_CONNECTOR
from components.model.connectors import build_connector, connector_of, llava_class
from components.model.convert.keys import LANGUAGE_MODEL, TOWER_FOLDER, Table, name_in_memory
from components.model.tokenizer import load_tokenizer
from components.model.tower import TowerShape, has_class_token, read_tower
from components.model.vocabulary import PAD_TOKEN, ROW_MULTIPLE
from components.model.weights import check_weights


@dataclass(frozen=True)
class LlavaParts:
    """A model and the tokenizer whose ids it was built for."""

    model: LlavaForConditionalGeneration
    tokenizer: PreTrainedTokenizerBase
    image_token_id: int


def build_llava(
    vision_tower_path: str | Path,
    language_model_path: str | Path,
    connector: str = DEFAULT_CONNECTOR,
    feature_layer: int = -2,
    select: str = "default",
    seed: int = 0,
) -> LlavaParts:
    """Return a LLaVA model of the two folders with a connector initialised from the seed.

    `feature_layer` is the index into the tower's hidden states (-2 in LLaVA-1.5), `select`
    "default" drops the CLS position and "full" keeps it (or there is none, as in SigLIP). Raises
    ConfigError for an unknown connector or selection, or one that does not fit the two parts;
    CheckpointError for an unreadable folder.
    """
    tower_class = _tower_class(Path(vision_tower_path))
    tower = read_tower(vision_tower_path)  # refuse before loading
    tower.patches_per_image(select, connector)
    tower.check_feature_layer(feature_layer)
    tokenizer, image_token_id = load_tokenizer(language_model_path)
    vision_tower = _load(tower_class, vision_tower_path, TOWER_FOLDER)
    language_model = _load(AutoModelForCausalLM, language_model_path, LANGUAGE_MODEL)
    _check_language_model(language_model, tokenizer, language_model_path)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _make_room(language_model, len(tokenizer))
        config = _llava_config(vision_tower, language_model, image_token_id, feature_layer, select)
        config.text_config.pad_token_id = tokenizer.convert_tokens_to_ids(PAD_TOKEN)
        if connector != DEFAULT_CONNECTOR:  # else the folder stays one of plain llava-hf
            config.connector = connector
        config.image_seq_length = patches_per_image(config)
        with torch.device("meta"):  # the two big parts are replaced, so do not allocate them twice
            model = llava_class(connector)(config)
        model.model.vision_tower = vision_tower
        model.model.language_model = language_model.model
        model.lm_head = language_model.lm_head
        model.model.multi_modal_projector = build_connector(config)
    model.tie_weights()
    model.generation_config = language_model.generation_config
    return LlavaParts(model.float().eval(), tokenizer, image_token_id)


def patches_per_image(config: LlavaConfig) -> int:
    """Return how many positions one image takes in the language model's sequence."""
    vision = config.vision_config
    shape = TowerShape(
        vision.model_type, vision.image_size, vision.patch_size, has_class_token(vision.model_type)
    )
    return shape.patches_per_image(config.vision_feature_select_strategy, connector_of(config))


def _llava_config(
    vision_tower: PreTrainedModel,
    language_model: PreTrainedModel,
    image_token_id: int,
    feature_layer: int,
    select: str,
) -> LlavaConfig:
    return LlavaConfig(
        vision_config=vision_tower.config,
        text_config=language_model.config,
        image_token_index=image_token_id,
        vision_feature_layer=feature_layer,
        vision_feature_select_strategy=select,
        tie_word_embeddings=bool(language_model.config.tie_word_embeddings),
    )


def _tower_class(path: Path) -> Any:
    """The class that loads only the vision half of a CLIP or SigLIP folder."""
    if not path.is_dir():
        raise CheckpointError(f"{path}: no such folder; expected a vision tower folder")
    try:
        config = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
        kind = config.model_type
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path}: config.json cannot be read ({error})") from error
    if kind.startswith("clip"):
        return CLIPVisionModel
    return SiglipVisionModel if kind.startswith("siglip") else AutoModel


def _load(kind: Any, path: str | Path, table: Table) -> PreTrainedModel:
    """Load one part in fp32 from safetensors, with every weight accounted for.

    `table` knows what a folder may hold beside it.
    """
    check_weights(Path(path))
    try:
        model, info = kind.from_pretrained(
            path,
            dtype=torch.float32,
            local_files_only=True,
            trust_remote_code=False,  # else transformers asks on the terminal
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # refused below, by name
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise CheckpointError(f"{path}: the model cannot be loaded ({error})") from error
    if info["missing_keys"] or info["mismatched_keys"]:
        absent = sorted(map(str, (*info["missing_keys"], *info["mismatched_keys"])))
        raise CheckpointError(
            f"{path}: {len(absent)} weights are missing or of another shape, first {absent[0]}; "
            "expected a complete folder; fetch it again"
        )
    if extra := sorted(k for k in info["unexpected_keys"] if name_in_memory(k, table) is not None):
        raise CheckpointError(
            f"{path}: {len(extra)} weights are not of this model, first {extra[0]}; config.json "
            "belongs to another one; fetch the folder again"
        )
    return model


def _check_language_model(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, path: str | Path
) -> None:
    """Refuse what would be built into a LLaVA without a word, and be another model there."""
    body, head = getattr(model, "model", None), getattr(model, "lm_head", None)
    if body is None or head is None:
        raise ConfigError(
            f"{path}: a language model of the kind {model.config.model_type!r} has no place in a "
            "LLaVA; expected one of the Llama family, Mistral or Qwen"
        )
    rows = model.get_input_embeddings().weight
    if tokenizer.vocab_size > len(rows):
        raise CheckpointError(
            f"{path}: the tokenizer has {tokenizer.vocab_size} tokens, but the model has rows for "
            f"{len(rows)}; the folder mixes two models"
        )
    if model.config.tie_word_embeddings and head.weight is not rows:
        raise CheckpointError(
            f"{path}: lm_head.weight differs from the embeddings, but config.json ties them; set "
            "tie_word_embeddings to false there, or remove lm_head.weight"
        )


def _make_room(language_model: PreTrainedModel, num_tokens: int) -> None:
    """Give the vocabulary rows for the new tokens; a table that is large enough stays as it is."""
    rows = language_model.get_input_embeddings()
    assert isinstance(rows, nn.Embedding)
    if rows.num_embeddings < num_tokens or rows.num_embeddings % ROW_MULTIPLE:
        language_model.resize_token_embeddings(
            max(num_tokens, rows.num_embeddings), pad_to_multiple_of=ROW_MULTIPLE
        )
