"""Folders whose weights are not what their files say are refused by name, before any is used."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from components.core.errors import CheckpointError
from components.model.weights import INDEX_NAME, check_weights

Change = Callable[[Path], object]


def _index(text: str) -> Change:
    return lambda folder: (folder / INDEX_NAME).write_text(text)


def _config(**values: object) -> Change:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return change


def _weights(change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Change:
    def act(folder: Path) -> None:
        path = folder / "model.safetensors"
        save_file(change(load_file(path)), path, metadata={"format": "pt"})

    return act


def _shards_beside_the_file(folder: Path) -> None:
    shutil.copy(folder / "model.safetensors", folder / "model-00001-of-00001.safetensors")
    names = dict.fromkeys(
        load_file(folder / "model.safetensors"), "model-00001-of-00001.safetensors"
    )
    (folder / INDEX_NAME).write_text(json.dumps({"weight_map": names}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_index("{"), r"index\.json: not a weight index"),
        (_index("[]"), r"index\.json: not a weight index"),
        (_index('{"weight_map": null}'), r"index\.json: not a weight index"),
        (_index('{"weight_map": {"a": 1}}'), r"index\.json: not a weight index"),
        (_shards_beside_the_file, r"model\.safetensors is not in .*index\.json"),
        (_config(quantization_config={"quant_method": "gptq"}), "quantised by 'gptq'"),
        (
            _weights(lambda each: {name: weight.to(torch.int8) for name, weight in each.items()}),
            r"lm_head\.weight is stored as I8",
        ),
        (lambda folder: (folder / "config.json").write_text("{"), r"config\.json: cannot be read"),
        (lambda folder: (folder / "config.json").write_text("[]"), r"config\.json: cannot be read"),
    ],
)
def test_damaged_and_quantised_folders_are_refused(
    change: Change, message: str, language_model_path: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(language_model_path, tmp_path / "folder")
    check_weights(folder)
    change(folder)
    with pytest.raises(CheckpointError, match=message):
        check_weights(folder)
