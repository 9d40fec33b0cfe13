"""Folders whose weights are not what their files say are refused by name, before any is used."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from components.core.errors import CheckpointError
from components.model.build import build_llava
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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_config(num_hidden_layers=1), r"9 weights are not of this model, first .*layers\.1\."),
        (
            _weights(lambda each: {**each, "model.adapter.weight": torch.zeros(2)}),
            r"1 weights are not of this model, first model\.adapter\.weight",
        ),
        (
            _config(tie_word_embeddings=True),
            r"lm_head\.weight differs from the embeddings.*tie_word_embeddings",
        ),
    ],
    ids=["fewer layers", "a stranger", "a head of its own"],
)
def test_weights_that_would_be_left_out_are_refused(
    change: Change,
    message: str,
    vision_tower_path: Path,
    language_model_path: Path,
    tmp_path: Path,
) -> None:
    folder = shutil.copytree(language_model_path, tmp_path / "folder")
    change(folder)
    with pytest.raises(CheckpointError, match=message):
        build_llava(vision_tower_path, folder)


def test_layers_of_a_tower_that_would_be_left_out_are_refused(
    vision_tower_path: Path, language_model_path: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(vision_tower_path, tmp_path / "folder")
    _config(num_hidden_layers=2)(folder)
    with pytest.raises(CheckpointError, match="16 weights are not of this model"):
        build_llava(folder, language_model_path)


def test_buffers_of_older_releases_are_passed_over(
    vision_tower_path: Path, language_model_path: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(language_model_path, tmp_path / "folder")
    buffer = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(6)}
    _weights(lambda each: {**each, **buffer})(folder)
    build_llava(vision_tower_path, folder)
