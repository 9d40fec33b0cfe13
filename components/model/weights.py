"""Checks of the weight files of a Hugging Face folder, before any of them is loaded.

In: a folder. Out: nothing, or CheckpointError saying which file is wrong. Only safetensors are
accepted: the other formats are pickles, which run code when they are opened. Nor are quantised
weights: their integers mean something only together with scales.
"""

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

from components.core.errors import CheckpointError

PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
SINGLE_NAME = "model.safetensors"
INDEX_NAME = "model.safetensors.index.json"
_QUANTISED = ("I8", "U8", "F8", "F4")
"""How the names of the stored dtypes of quantised weights begin (safetensors)."""


def check_weights(folder: Path) -> None:
    """Check that the folder holds whole safetensors files, not quantised, and a fitting index.

    Raises CheckpointError naming the file and the remedy.
    """
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{folder}: no config.json; expected a Hugging Face model folder")
    _check_config(folder / "config.json")
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        pickles = [p.name for p in sorted(folder.iterdir()) if p.suffix in PICKLE_SUFFIXES]
        if pickles:
            raise CheckpointError(
                f"{folder}: the weights are pickles ({pickles[0]}), which run code when loaded; "
                "expected *.safetensors; convert them with the tools of their author first"
            )
        raise CheckpointError(f"{folder}: no *.safetensors file; the folder is incomplete")
    if (folder / INDEX_NAME).is_file():
        named = set(read_weight_map(folder).values())
        absent = sorted(named - {file.name for file in files})
        if absent:
            raise CheckpointError(f"{folder}: {INDEX_NAME} names {absent[0]}, which is not there")
        if (folder / SINGLE_NAME).is_file() and SINGLE_NAME not in named:
            raise CheckpointError(  # transformers reads that file, an export the named ones
                f"{folder}: {SINGLE_NAME} is not in {INDEX_NAME}, so there are two sets of "
                "weights; remove the one that does not belong here"
            )
    for file in files:
        _check_file(file)


def read_weight_map(folder: Path) -> dict[str, str]:
    """Return the file of each weight as the folder's index has it, or raise CheckpointError."""
    path = folder / INDEX_NAME
    try:
        named = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        if all(isinstance(file, str) for file in named.values()):
            return dict(named)
        found = "a file's name is no text"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        found = repr(error)
    raise CheckpointError(f"{path}: not a weight index ({found}); restore the file")


def _check_config(path: Path) -> None:
    try:
        quantised = json.loads(path.read_text(encoding="utf-8")).get("quantization_config")
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}); restore the file") from error
    if quantised is not None:
        kind = quantised.get("quant_method") if isinstance(quantised, dict) else quantised
        raise CheckpointError(
            f"{path}: the weights are quantised by {kind!r}, which cannot be trained; expected "
            "float32, bfloat16 or float16; name the folder that they were quantised from"
        )


def _check_file(file: Path) -> None:
    try:
        with safe_open(file, framework="pt") as opened:
            keys = list(opened.keys())
            kinds = {key: str(opened.get_slice(key).get_dtype()) for key in keys}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{file}: the weights are damaged or cut short ({file.stat().st_size} bytes; "
            f"{error}); "
            "restore the file or run the step that made it again"
        ) from error
    for key, kind in kinds.items():
        if kind.startswith(_QUANTISED):
            raise CheckpointError(
                f"{file}: {key} is stored as {kind}, so the weights are quantised; expected "
                "float32, bfloat16 or float16; name the folder that they were quantised from"
            )
