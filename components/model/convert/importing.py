"""Model folders of others become ours: the original layout, the hub's llava-hf, a connector alone.

In: a folder of one of these layouts, where needed with the folders of the parts it lacks. Out: a
folder that `load_checkpoint` reads, with the same weights bit for bit. One that was exported by us
comes back as it was, from its folder `lavaflow/`; any other gets its vocabulary rows and small
files as `build_llava` and `checkpoint.save` make them, from the seed alone.

Reference: transformers' convert_llava_weights_to_hf.py (the 4.x script, not in the package).
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    GenerationConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerBase,
)

from components.core.errors import CheckpointError, ConfigError
from components.data.images import ImageSpec
from components.model.build import patches_per_image
from components.model.checkpoint import DTYPES, SIDE_FILE, save
from components.model.convert.checks import fitting, in_memory, read_config, read_llava_config
from components.model.convert.keys import (
    ANY_LLAVA_HF,
    EMBEDDING_ROWS,
    HEAD_ROWS,
    LANGUAGE_MODEL,
    ORIGINAL,
    SAVED,
    TOWER,
    TOWER_FOLDER,
    name_in_file,
    name_in_memory,
)
from components.model.convert.original import (
    layout_of,
    llava_config,
    original_image_spec,
    text_config_of,
    tower_config_of,
)
from components.model.convert.rows import new_rows
from components.model.convert.small_files import (
    ROWS_FILE,
    SIDE_FOLDER,
    copy_small_files,
    published_image_spec,
    read_json,
    whole_folder,
)
from components.model.convert.weights import (
    Advance,
    Piece,
    Stored,
    list_file,
    list_weights,
    write_weights,
)
from components.model.tokenizer import check_image_token, load_tokenizer
from components.model.vocabulary import PAD_TOKEN

log = logging.getLogger(__name__)

DEFAULT_TEMPLATE = "vicuna_v1"
"""What LLaVA-1.5 was trained with; folders of others do not say."""


@dataclass(frozen=True)
class Lacking:
    """Folders for what a layout does not hold, in Hugging Face layout with safetensors."""

    vision_tower_path: Path | None = None
    language_model_path: Path | None = None


@dataclass(frozen=True)
class _Model:
    """All that a folder of ours is made of."""

    config: LlavaConfig
    tokenizer: PreTrainedTokenizerBase
    image_spec: ImageSpec
    pieces: Mapping[str, Piece]
    generation_path: Path


def import_model(
    source: str | Path,
    target: str | Path,
    lacking: Lacking | None = None,
    template: str | None = None,
    advance: Advance | None = None,
    seed: int = 0,
) -> Path:
    """Write a folder of another layout as one of ours and return its path.

    `template` is what the model was trained with (vicuna_v1 unless said otherwise); a folder that
    we exported knows it. `seed` draws the rows of new tokens. `advance` is told of every tensor.
    Raises CheckpointError for a damaged or an unknown folder, ConfigError for options that do not
    fit it.
    """
    with whole_folder(Path(target)) as part:
        _convert(Path(source), part, lacking or Lacking(), template, advance, seed)
    return Path(target)


def _convert(
    path: Path,
    part: Path,
    lacking: Lacking,
    template: str | None,
    advance: Advance | None,
    seed: int,
) -> None:
    values, stored = _open(path)
    layout = layout_of(path, values, stored)
    weights = _all_weights(path, layout, stored, lacking)
    if (path / SIDE_FOLDER / SIDE_FILE).is_file():
        pieces: Mapping[str, Piece] = _restored(path, weights, template)
        copy_small_files(path / SIDE_FOLDER, part)
    else:
        if layout == "llava-hf":
            model = _published(path, weights)
        else:
            model = _assembled(path, layout, values, weights, lacking, seed)
        _save_small_files(model, part, template or DEFAULT_TEMPLATE, layout)
        pieces = model.pieces
    write_weights(part, {name_in_file(n, SAVED): piece for n, piece in pieces.items()}, advance)


def _open(path: Path) -> tuple[dict[str, Any], dict[str, Stored]]:
    if not path.is_dir():
        raise CheckpointError(f"{path}: no such folder; expected a model folder")
    if (path / SIDE_FILE).is_file():
        raise CheckpointError(
            f"{path}: has a {SIDE_FILE}, so it is a model folder of lavaflow already; "
            "use it as it is"
        )
    stored = list_weights(path)  # names what is wrong with pickles first
    return read_json(path / "config.json"), stored


def _all_weights(
    path: Path, layout: str, stored: Mapping[str, Stored], lacking: Lacking
) -> dict[str, Stored]:
    """Return every weight by its name in memory, those of the lacking parts from their folders."""
    if layout == "llava-hf":
        if lacking.vision_tower_path is not None:
            raise ConfigError(
                f"{path}: a llava-hf folder holds its vision tower; leave --vision-tower away"
            )
        weights = in_memory(stored, ANY_LLAVA_HF)
    else:
        weights = in_memory(stored, ORIGINAL)
    if layout == "connector":
        if lacking.language_model_path is None:
            raise ConfigError(
                f"{path}: a connector alone; give the language model it was trained with by "
                "--language-model, and the vision tower by --vision-tower"
            )
        weights |= in_memory(list_weights(lacking.language_model_path), LANGUAGE_MODEL)
    elif lacking.language_model_path is not None:
        raise ConfigError(
            f"{path}: holds its language model; --language-model is for a connector alone"
        )
    if layout == "llava-hf" or any(name.startswith(TOWER) for name in weights):
        return weights
    if lacking.vision_tower_path is None:
        raise CheckpointError(
            f"{path}: the vision tower's weights are not in this folder (official ones of the "
            "original do not hold them); give the folder of the tower with --vision-tower"
        )
    return weights | in_memory(list_weights(lacking.vision_tower_path), TOWER_FOLDER)


def _restored(path: Path, weights: Mapping[str, Stored], template: str | None) -> dict[str, Piece]:
    """Return the weights with the rows that our export cut off."""
    side = path / SIDE_FOLDER
    trained = read_json(side / SIDE_FILE).get("template")
    if template not in (None, trained):
        raise ConfigError(
            f"{path}: was trained with the template {trained!r}, as {side / SIDE_FILE} says, not "
            f"{template!r}; leave --template away"
        )
    load_tokenizer(side)  # a copy that was broken off may lack it
    pieces = {name: Piece(each) for name, each in weights.items()}
    if (side / ROWS_FILE).is_file():
        for row in list_file(side / ROWS_FILE):
            name = name_in_memory(row.key, ORIGINAL)
            # The table may lack: then the weight is missing, which is found next.
            if name is not None and name in weights and row.shape[0]:
                above = weights[name]
                if above.dtype != row.dtype:
                    log.warning("%s: new rows follow the dtype of %s", path, above.dtype)
                pieces[name] = Piece(above, below=row)
    remedy = (
        f"{SIDE_FOLDER}/ is of another export; remove it, and the folder is read as one of others"
    )
    return fitting(pieces, read_llava_config(side), path, remedy)


def _published(path: Path, weights: Mapping[str, Stored]) -> _Model:
    config = read_llava_config(path)
    tokenizer, image_token_id = load_tokenizer(path)
    check_image_token(image_token_id, config.image_token_id, path)
    if len(tokenizer) > config.text_config.vocab_size:
        raise CheckpointError(
            f"{path}: {len(tokenizer)} tokens with {PAD_TOKEN} but rows for "
            f"{config.text_config.vocab_size}; fetch the whole folder again"
        )
    config.text_config.pad_token_id = tokenizer.convert_tokens_to_ids(PAD_TOKEN)
    config.image_seq_length = patches_per_image(config)
    pieces = {name: Piece(each) for name, each in weights.items()}
    whole = fitting(pieces, config, path, "fetch the whole folder again")
    return _Model(config, tokenizer, published_image_spec(path, config), whole, path)


def _assembled(
    path: Path,
    layout: str,
    values: Mapping[str, Any],
    weights: Mapping[str, Stored],
    lacking: Lacking,
    seed: int,
) -> _Model:
    """Return the model of an original folder, or of a connector and the parts it joins."""
    where = path / "config.json"
    vision = tower_config_of(values.get("mm_vision_tower"), lacking.vision_tower_path, where)
    if layout == "connector":
        assert lacking.language_model_path is not None  # `_all_weights` asked for it
        language_path = lacking.language_model_path
        text = read_config(language_path)
    else:
        language_path, text = path, text_config_of(values, where)
    tokenizer, image_token_id = load_tokenizer(language_path)
    if EMBEDDING_ROWS not in weights:
        raise CheckpointError(
            f"{language_path}: weights are missing, first "
            f"{name_in_file(EMBEDDING_ROWS, LANGUAGE_MODEL)}; fetch the whole folder again"
        )
    tables = {name: weights[name] for name in (EMBEDDING_ROWS, HEAD_ROWS) if name in weights}
    if tables[EMBEDDING_ROWS].shape != (text.vocab_size, text.hidden_size):
        raise CheckpointError(
            f"{language_path}: {tables[EMBEDDING_ROWS].key} has shape "
            f"{list(tables[EMBEDDING_ROWS].shape)}, the configuration says "
            f"{[text.vocab_size, text.hidden_size]}; fetch the whole folder again"
        )
    below = new_rows(tables, len(tokenizer), seed)
    pieces = {name: Piece(each, below.get(name)) for name, each in weights.items()}
    config = llava_config(
        values,
        text,
        vision,
        pieces[EMBEDDING_ROWS].shape[0],
        image_token_id,
        tokenizer.convert_tokens_to_ids(PAD_TOKEN),
    )
    colours = _tower_colours(lacking.vision_tower_path)
    spec = original_image_spec(values, config.vision_config, colours)
    whole = fitting(pieces, config, path, "fetch the whole folder again, or name the right parts")
    return _Model(config, tokenizer, spec, whole, language_path)


def _tower_colours(path: Path | None) -> dict[str, Any]:
    file = path / "preprocessor_config.json" if path is not None else None
    return read_json(file) if file is not None and file.is_file() else {}


def _save_small_files(model: _Model, part: Path, template: str, layout: str) -> None:
    """Let `checkpoint.save` write everything but the weights, so that there is one such format."""
    with torch.device("meta"):
        shell = LlavaForConditionalGeneration(model.config)
    name = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}.get(
        model.pieces[EMBEDDING_ROWS].stored.dtype, "float32"
    )
    shell.to(DTYPES[name])
    path = model.generation_path / "generation_config.json"
    if path.is_file():
        try:
            shell.generation_config = GenerationConfig.from_pretrained(model.generation_path)
        except (OSError, ValueError, TypeError) as error:
            raise CheckpointError(f"{path}: cannot be read ({error}); restore the file") from error
    save(
        shell,
        model.tokenizer,
        part,
        model.image_spec,
        template,
        extra={"imported_from": layout},
        state_dict={},
    )
