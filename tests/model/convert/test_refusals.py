"""What cannot be converted is refused with clear words and leaves nothing behind."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from components.core.errors import CheckpointError, ConfigError
from components.model.convert.export import Layout, export_model, import_model
from components.model.convert.importing import Lacking
from components.model.convert.small_files import ROWS_FILE, SIDE_FOLDER
from tests.model.convert.contents import LAYOUTS, ROWS, Foreign, bits, write


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("missing", "1 weights are missing, first model.language_model.norm.weight"),
        ("extra", "1 weights are not of this model, first model.layers.7.mlp.up_proj.weight"),
        ("shape", r"model.norm.weight has shape \[23\], the configuration says \[24\]"),
        ("connector", "the connector is another than 'mlp2x_gelu'"),
    ],
)
@pytest.mark.parametrize("exported", [True, False], ids=["exported", "foreign"])
def test_weights_that_do_not_fit_are_named(
    change: str, text: str, exported: bool, folder: Path, vision_tower_path: Path, tmp_path: Path
) -> None:
    theirs = export_model(folder, tmp_path / "llava", "original")
    if not exported:
        shutil.rmtree(theirs / SIDE_FOLDER)
    weights = load_file(theirs / "model.safetensors")
    _break(weights, change)
    write(theirs, weights)
    with pytest.raises(CheckpointError, match=text):
        import_model(theirs, tmp_path / "ours", Lacking(vision_tower_path))
    assert not (tmp_path / "ours").exists()


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"mm_projector_type": "linear"}, "mm_projector_type is 'linear'"),
        ({"mm_use_im_start_end": True}, "mm_use_im_start_end is true"),
        ({"image_aspect_ratio": "anyres"}, "image_aspect_ratio is 'anyres'"),
        ({"model_type": "llava_mpt"}, "model_type is 'llava_mpt'"),
        ({"mm_vision_select_layer": "last"}, "mm_vision_select_layer is 'last'"),
        ({"hidden_size": 12}, "the configuration says"),
        ({"mm_projector_type": None, "mm_vision_tower": None}, "mm_projector_type"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_configurations_that_are_no_llava15_are_refused(
    values: dict[str, object],
    text: str,
    foreign: Foreign,
    vision_tower_path: Path,
    tmp_path: Path,
) -> None:
    theirs = foreign("original")
    config = json.loads((theirs / "config.json").read_text())
    config = {k: v for k, v in {**config, **values}.items() if v is not None}
    (theirs / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=text):
        import_model(theirs, tmp_path / "ours", Lacking(vision_tower_path))


def test_other_connectors_are_not_exported(folder: Path, tmp_path: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "connector": "mlp3x_gelu"}))
    with pytest.raises(CheckpointError, match="mlp3x_gelu"):
        export_model(folder, tmp_path / "llava", "llava-hf")


def test_pickles_are_refused(foreign: Foreign, tmp_path: Path) -> None:
    theirs = foreign("original")
    (theirs / "model.safetensors").rename(theirs / "pytorch_model-00001-of-00002.bin")
    with pytest.raises(CheckpointError, match="pickles"):
        import_model(theirs, tmp_path / "ours")
    # What stage 1 of the original leaves
    next(theirs.glob("*.bin")).rename(theirs / "mm_projector.bin")
    with pytest.raises(CheckpointError, match=r"mm_projector\.bin"):
        import_model(theirs, tmp_path / "ours")


def test_damaged_folders_are_refused(folder: Path, tmp_path: Path) -> None:
    there = export_model(folder, tmp_path / "llava", "original")
    (there / "model.safetensors.index.json").write_text("{")
    with pytest.raises(CheckpointError, match="not a weight index"):
        import_model(there, tmp_path / "ours")
    index = {"weight_map": {"absent.weight": "model.safetensors"}}
    (there / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=r"names absent\.weight"):
        import_model(there, tmp_path / "ours")
    (there / "model.safetensors.index.json").unlink()
    rows = there / SIDE_FOLDER / ROWS_FILE
    rows.write_bytes(rows.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match=f"{ROWS_FILE}: the weights are damaged"):
        import_model(there, tmp_path / "ours")
    with pytest.raises(CheckpointError, match="already"):
        import_model(folder, tmp_path / "ours")
    with pytest.raises(CheckpointError, match="lavaflow import"):
        export_model(there, tmp_path / "ours", "original")
    with pytest.raises(CheckpointError, match="no such folder"):
        import_model(tmp_path / "nothing", tmp_path / "ours")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_exported_folder_without_our_tokenizer_is_refused(
    layout: Layout, folder: Path, tmp_path: Path
) -> None:
    """As a copy that was broken off leaves it; nobody could read what it would become."""
    there = export_model(folder, tmp_path / "llava", layout)
    (there / SIDE_FOLDER / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=f"{SIDE_FOLDER}: the tokenizer cannot be read"):
        import_model(there, tmp_path / "ours")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_folder_whose_image_token_is_another_is_not_exported(
    layout: Layout, folder: Path, tmp_path: Path
) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "image_token_index": 5}))
    with pytest.raises(CheckpointError, match=f"<image> id {ROWS}, the model expects 5"):
        export_model(folder, tmp_path / "llava", layout)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("generation_config.json", "{", r"generation_config\.json: cannot be read"),
        ("tokenizer_config.json", "{}", "no end token"),
    ],
)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_damaged_small_files_of_others_are_named(
    layout: Layout,
    file: str,
    text: str,
    message: str,
    foreign: Foreign,
    vision_tower_path: Path,
    tmp_path: Path,
) -> None:
    theirs = foreign(layout)
    (theirs / file).write_text(text)
    lacking = Lacking(vision_tower_path) if layout == "original" else None
    with pytest.raises(CheckpointError, match=message):
        import_model(theirs, tmp_path / "ours", lacking)


def test_a_template_that_contradicts_the_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    there = export_model(folder, tmp_path / "llava", "original")
    with pytest.raises(ConfigError, match="'plain'"):
        import_model(there, tmp_path / "ours", template="vicuna_v1")


def test_nothing_is_overwritten(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "llava").mkdir()
    export_model(folder, tmp_path / "llava", "original")
    before = bits(tmp_path / "llava")
    with pytest.raises(ConfigError, match="not empty"):
        export_model(folder, tmp_path / "llava", "llava-hf")
    assert bits(tmp_path / "llava") == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError], ids=lambda each: each.__name__)
def test_an_interruption_leaves_no_target(
    error: type[BaseException], folder: Path, tmp_path: Path
) -> None:
    there = export_model(folder, tmp_path / "llava", "original")
    before = sorted(tmp_path.iterdir())

    def interrupt(count: int) -> None:
        raise error

    with pytest.raises(error):
        export_model(folder, tmp_path / "new", "llava-hf", interrupt)
    with pytest.raises(error):
        import_model(there, tmp_path / "new", advance=interrupt)
    assert sorted(tmp_path.iterdir()) == before


def _break(weights: dict[str, Tensor], change: str) -> None:
    if change == "missing":
        del weights["model.norm.weight"]
    elif change == "extra":
        weights["model.layers.7.mlp.up_proj.weight"] = torch.zeros(2)
    elif change == "shape":
        weights["model.norm.weight"] = torch.zeros(23)
    elif change == "connector":
        weights["model.mm_projector.4.weight"] = torch.zeros(24, 24)
