"""Conversion of model folders: ours to the original LLaVA layout or the hub's llava-hf, and back.

In: a folder that `checkpoint.save` wrote, or (`convert_import`) one of another layout. Out: a new
folder with the same weights, bit for bit and in their dtype, converted tensor by tensor. It appears
under its name when it is whole. Only the connector of LLaVA-1.5 (`mlp2x_gelu`) and safetensors are
converted.

The original has no rows for `<image>` and `<pad>`, nor the rounding to 64. An export cuts them off
and keeps them, with our small files, in the folder `lavaflow/`, where an import finds them again.

Reference: llava/model/llava_arch.py and train/train.py (haotian-liu/LLaVA c121f043);
llava-hf/llava-1.5-7b-hf. The names are in `convert_keys`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from transformers import LlavaConfig, PreTrainedTokenizerBase

from components.core.config import parse
from components.core.errors import CheckpointError, ConfigError
from components.data.images import ImageSpec
from components.model.checkpoint import SIDE_FILE
from components.model.convert.checks import fitting, in_memory, read_llava_config
from components.model.convert.importing import import_model as import_model
from components.model.convert.keys import (
    ANY_LLAVA_HF,
    CONNECTOR,
    ORIGINAL,
    VOCABULARY,
    name_in_file,
    published_table,
)
from components.model.convert.original import original_config
from components.model.convert.rows import base_rows
from components.model.convert.small_files import (
    ROWS_FILE,
    SIDE_FOLDER,
    copy_small_files,
    read_json,
    whole_folder,
    write_base_tokenizer,
    write_json,
    write_published_files,
)
from components.model.convert.weights import (
    Advance,
    Piece,
    list_weights,
    write_file,
    write_weights,
)
from components.model.tokenizer import check_image_token, load_tokenizer

Layout = Literal["original", "llava-hf", "connector"]

CONNECTOR_FILE = "mm_projector.safetensors"
"""The original's `mm_projector.bin`, which is a pickle, under the same weights' names."""


@dataclass(frozen=True)
class _Own:
    """A folder of ours, checked; nothing of its weights is read."""

    path: Path
    config: LlavaConfig
    tokenizer: PreTrainedTokenizerBase
    image_spec: ImageSpec
    weights: Mapping[str, Piece]


def export_model(
    source: str | Path, target: str | Path, layout: Layout, advance: Advance | None = None
) -> Path:
    """Write a folder of ours in another layout and return its path.

    `original` and `llava-hf` are whole models; `connector` is what stage 1 of the original leaves:
    the connector alone with the configuration. `advance` is told of every tensor.
    Raises CheckpointError when the source is damaged or cannot be expressed, ConfigError when the
    target is there already.
    """
    with whole_folder(Path(target)) as part:
        own = _open_own(Path(source))
        copy_small_files(own.path, part / SIDE_FOLDER)
        if layout == "llava-hf":
            write_published_files(own.path, part, own.config)
            table = published_table(own.config.vision_config.model_type)
            named = {name_in_file(name, table): piece for name, piece in own.weights.items()}
            write_weights(part, named, advance)
        else:
            _write_original(own, part, connector_only=layout == "connector", advance=advance)
    return Path(target)


def _write_original(own: _Own, part: Path, connector_only: bool, advance: Advance | None) -> None:
    tokenizer = own.tokenizer
    num_rows = base_rows(tokenizer)
    values = original_config(own.config, own.image_spec, num_rows, tokenizer.unk_token_id, own.path)
    cut = {name: own.weights[name].stored for name in VOCABULARY if name in own.weights}
    rows = {name_in_file(n, ORIGINAL): Piece(table.rows(num_rows)) for n, table in cut.items()}
    write_file(part / SIDE_FOLDER / ROWS_FILE, rows)
    kept = {**own.weights, **{n: Piece(table.rows(0, num_rows)) for n, table in cut.items()}}
    named = {name_in_file(name, ORIGINAL): piece for name, piece in kept.items()}
    if connector_only:
        values["tune_mm_mlp_adapter"] = True
        names = [name_in_file(name, ORIGINAL) for name in kept if name.startswith(CONNECTOR)]
        write_file(part / CONNECTOR_FILE, {name: named[name] for name in names}, advance)
    else:
        write_base_tokenizer(own.path, part, tokenizer, num_rows)
        write_weights(part, named, advance)
    write_json(part / "config.json", values)


def _open_own(path: Path) -> _Own:
    if not path.is_dir():
        raise CheckpointError(f"{path}: no such folder; expected a model folder")
    if not (path / SIDE_FILE).is_file():
        raise CheckpointError(
            f"{path}: no {SIDE_FILE}; expected a model folder written by lavaflow (folders of "
            "others become one with lavaflow import)"
        )
    side = read_json(path / SIDE_FILE)
    try:
        image_spec = parse(ImageSpec, side["image_spec"], where="image_spec")
    except (KeyError, TypeError, ValueError, ConfigError) as error:
        raise CheckpointError(
            f"{path / SIDE_FILE}: cannot be read ({error!r}); restore the file"
        ) from error
    config = read_llava_config(path)
    tokenizer, image_token_id = load_tokenizer(path)
    check_image_token(image_token_id, config.image_token_id, path)
    pieces = {n: Piece(each) for n, each in in_memory(list_weights(path), ANY_LLAVA_HF).items()}
    remedy = "run the step that made this folder again"
    return _Own(path, config, tokenizer, image_spec, fitting(pieces, config, path, remedy))
