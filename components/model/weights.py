"""Checks of the weight files of a Hugging Face folder, before any of them is loaded.

In: a folder. Out: nothing, or CheckpointError saying which file is wrong. Only safetensors are
accepted: the other formats are pickles, which run code when they are opened.
"""

import json
from pathlib import Path

from safetensors import SafetensorError, safe_open

from components.core.errors import CheckpointError

PICKLE_SUFFIXES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
INDEX_NAME = "model.safetensors.index.json"


def check_weights(folder: Path) -> None:
    """Check that the folder holds whole safetensors files and that its index names no absent file.

    Raises CheckpointError naming the file and the remedy.
    """
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{folder}: no config.json; expected a Hugging Face model folder")
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        pickles = [p.name for p in sorted(folder.iterdir()) if p.suffix in PICKLE_SUFFIXES]
        if pickles:
            raise CheckpointError(
                f"{folder}: the weights are pickles ({pickles[0]}), which run code when loaded; "
                "expected *.safetensors; convert them with the tools of their author first"
            )
        raise CheckpointError(f"{folder}: no *.safetensors file; the folder is incomplete")
    index = folder / INDEX_NAME
    if index.is_file():
        named = set(json.loads(index.read_text(encoding="utf-8")).get("weight_map", {}).values())
        absent = sorted(named - {file.name for file in files})
        if absent:
            raise CheckpointError(f"{folder}: {INDEX_NAME} names {absent[0]}, which is not there")
    for file in files:
        try:
            with safe_open(file, framework="pt") as opened:
                opened.keys()
        except (SafetensorError, OSError) as error:
            raise CheckpointError(
                f"{file}: the weights are damaged or cut short ({file.stat().st_size} bytes; "
                f"{error}); "
                "restore the file or run the step that made it again"
            ) from error
