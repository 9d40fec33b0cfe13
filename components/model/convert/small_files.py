"""The small files of a model folder on their way between layouts, and folders that appear whole.

In: a model folder. Out: its configuration, tokenizer and processor files in the form that another
layout wants them. Weights are not touched (see `convert_weights`).

Reference: the files of llava-hf/llava-1.5-7b-hf; `load_pretrained_model` of llava/model/builder.py
(haotian-liu/LLaVA c121f043), which reads the tokenizer.
"""

import json
import logging
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import LlavaConfig, PretrainedConfig, PreTrainedTokenizerBase

from components.core.config import parse
from components.core.errors import CheckpointError, ConfigError
from components.data.images import ImageSpec
from components.model.checkpoint import SIDE_FILE
from components.model.weights import INDEX_NAME

log = logging.getLogger(__name__)

SIDE_FOLDER = "lavaflow"
"""Folder in an exported one with what the layout has no place for: our small files as they were,
and the vocabulary's trimmed rows. A folder, so that nobody takes it for weights of the model."""
ROWS_FILE = "vocabulary_rows.safetensors"

_SMALL_SUFFIXES = (".json", ".jinja", ".model", ".txt")
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt")
_TOKENIZER_CONFIG = "tokenizer_config.json"
_PROCESSOR = "processor_config.json"
_PREPROCESSOR = "preprocessor_config.json"
_GENERATION = "generation_config.json"


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Yield a new folder beside the target that becomes the target when all went well.

    Raises ConfigError when the target is there already and not empty. After an error or an
    interruption there is no target.
    """
    target = target.expanduser().resolve()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ConfigError(
            f"{target}: is there already and not empty; nothing is overwritten; "
            "name a new folder, or remove this one first"
        )
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
    part.mkdir(parents=True)
    try:
        yield part
        part.replace(target)  # onto an empty folder too
    finally:
        shutil.rmtree(part, ignore_errors=True)


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON file's object, or raise CheckpointError."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{path.parent}: no {path.name}; expected a Hugging Face model folder"
        ) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}); restore the file") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{path}: holds no JSON object; restore the file")
    return values


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write a readable JSON file."""
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def copy_small_files(source: Path, target: Path) -> None:
    """Copy everything of a folder that is not weights, nor ours to make anew."""
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir()):
        if path.is_file() and path.suffix in _SMALL_SUFFIXES and path.name != INDEX_NAME:
            shutil.copyfile(path, target / path.name)


def write_published_files(source: Path, target: Path, config: LlavaConfig) -> None:
    """Write the small files of a folder of ours as the hub's llava-hf folders have them.

    Three files differ: config.json also says what older transformers read under other names, and
    the image settings lie in preprocessor_config.json.
    """
    copy_small_files(source, target)
    (target / SIDE_FILE).unlink()
    values = read_json(source / "config.json")
    values["torch_dtype"] = values.get("dtype", "float32")
    values["text_config"].update(_older_rope(config.text_config))
    write_json(target / "config.json", values)
    processor = read_json(source / _PROCESSOR)
    image_settings = processor.pop("image_processor")
    write_json(target / _PROCESSOR, processor)
    name = processor.get("processor_class", "LlavaProcessor")
    write_json(target / _PREPROCESSOR, {**image_settings, "processor_class": name})
    write_json(target / _TOKENIZER_CONFIG, _older_tokenizer(read_json(source / _TOKENIZER_CONFIG)))


def write_base_tokenizer(
    source: Path, target: Path, tokenizer: PreTrainedTokenizerBase, num_rows: int
) -> None:
    """Write the tokenizer and generation files without the tokens from `num_rows` on.

    The original has no `<image>` token (it cuts the prompt there) and pads with `<unk>`.
    """
    for name in (*_TOKENIZER_FILES, _GENERATION):
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
    path = target / "tokenizer.json"
    if path.is_file():
        values = read_json(path)
        values["added_tokens"] = [row for row in values["added_tokens"] if row["id"] < num_rows]
        path.write_text(json.dumps(values, indent=2, ensure_ascii=False), encoding="utf-8")
    values = _older_tokenizer(read_json(source / _TOKENIZER_CONFIG))
    values["pad_token"] = tokenizer.unk_token
    decoder = values.get("added_tokens_decoder", {})
    for token_id in [each for each in decoder if int(each) >= num_rows]:
        del decoder[token_id]
    write_json(target / _TOKENIZER_CONFIG, values)


def published_image_spec(folder: Path, config: LlavaConfig) -> ImageSpec:
    """Return how a llava-hf folder's processor makes images.

    Raises CheckpointError when it makes them in a way, or at a size, that we do not.
    """
    path = folder / _PREPROCESSOR
    if path.is_file():
        values = read_json(path)
    else:
        path = folder / _PROCESSOR
        values = read_json(path).get("image_processor") or {}
    size = values.get("crop_size") or values.get("size") or {}
    side = size if isinstance(size, int) else size.get("height", size.get("shortest_edge"))
    if side != config.vision_config.image_size:
        raise CheckpointError(
            f"{path}: images of {side} px, but the tower takes {config.vision_config.image_size} "
            "px; the folder mixes two models"
        )
    if not values.get("do_pad") and not values.get("do_center_crop", True):
        raise CheckpointError(
            f"{path}: images are stretched to a square (do_pad and do_center_crop are false); "
            "expected one of the two"
        )
    if not values.get("do_pad"):
        log.warning(
            "%s cuts images to their centre (do_pad is not set), and so will the imported model. "
            "LLaVA-1.5 was trained on padded ones: set do_pad to true there for those.",
            path,
        )
    fields = {
        "size_px": side,
        "aspect": "pad" if values.get("do_pad") else "crop",
        "mean": values.get("image_mean"),
        "std": values.get("image_std"),
    }
    given = {name: value for name, value in fields.items() if value is not None}
    try:
        return parse(ImageSpec, given, where=str(path))
    except ConfigError as error:
        raise CheckpointError(str(error)) from None


def _older_rope(text: PretrainedConfig) -> dict[str, Any]:
    """Return rotary positions as transformers < 5 reads them: it would silently take a theta of
    10,000. Kinds that differ by layer have no such form.
    """
    rope = dict(getattr(text, "rope_parameters", None) or {})
    if "rope_theta" not in rope:
        return {}
    theta = {"rope_theta": rope.pop("rope_theta")}
    return (
        theta if rope.get("rope_type", "default") == "default" else {**theta, "rope_scaling": rope}
    )


def _older_tokenizer(values: dict[str, Any]) -> dict[str, Any]:
    """Name the class of a tokenizer.json as transformers < 5 knows it; 5 reads that name too."""
    if values.get("tokenizer_class") == "TokenizersBackend":
        return {**values, "tokenizer_class": "PreTrainedTokenizerFast"}
    return values
