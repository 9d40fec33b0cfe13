"""Folders of each connector: the same weights come back, and what does not fit is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoProcessor, LlavaForConditionalGeneration

from components.core.errors import CheckpointError
from components.data.config import ImageSpec
from components.model.build import LlavaParts, build_llava, patches_per_image
from components.model.checkpoint import SIDE_FILE, load_checkpoint, save
from components.model.connectors import LlavaWithConnector, connector_of
from components.model.embed import normalise_pixels
from components.model.generation.greedy import embed_distinct, generate_greedy
from tests.model.tiny_parts import CONNECTORS, IMAGE_PX

POSITIONS = {"resampler3": 3, "resampler7": 7}

every_connector = pytest.mark.parametrize("built", CONNECTORS, indirect=True)


@every_connector
def test_a_folder_gives_back_the_very_weights(
    built: LlavaParts, image_spec: ImageSpec, tmp_path: Path
) -> None:
    name = connector_of(built.model.config)
    save(built.model, built.tokenizer, tmp_path, image_spec, "vicuna_v1")
    loaded = load_checkpoint(tmp_path)
    assert connector_of(loaded.model.config) == name
    assert json.loads((tmp_path / SIDE_FILE).read_text())["connector"] == name
    before, after = built.model.state_dict(), loaded.model.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert loaded.patches_per_image == patches_per_image(built.model.config)
    image = built.image_token_id
    ids = torch.tensor([[1, 270, *[image] * loaded.patches_per_image, 271]])
    pixels = normalise_pixels(
        torch.full((1, 3, IMAGE_PX, IMAGE_PX), 90, dtype=torch.uint8), image_spec, torch.float32
    )
    with torch.inference_mode():
        assert torch.equal(
            built.model(input_ids=ids, pixel_values=pixels).logits,
            loaded.model(input_ids=ids, pixel_values=pixels).logits,
        )
    pixels = torch.full((3, IMAGE_PX, IMAGE_PX), 90, dtype=torch.uint8)
    assert generate_greedy(loaded, [[1, image, 270]], embed_distinct(loaded, [pixels]), 3)


@every_connector
def test_a_saved_folder_can_be_saved_again(
    built: LlavaParts, image_spec: ImageSpec, tmp_path: Path
) -> None:
    """As a second stage does, in bf16 and with gathered weights."""
    save(built.model, built.tokenizer, tmp_path / "one", image_spec, "plain")
    model = load_checkpoint(tmp_path / "one").model.to(torch.bfloat16)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    save(model, built.tokenizer, tmp_path / "two", image_spec, "plain", state_dict=state)
    again = load_checkpoint(tmp_path / "two", dtype="bfloat16").model.state_dict()
    assert all(torch.equal(state[key], again[key]) for key in state)


@pytest.mark.parametrize("select", ["default", "full"])
@pytest.mark.parametrize("name", ["mlp2x_gelu", "resampler3", "resampler7"])
def test_the_processor_repeats_the_image_token_as_often(
    name: str,
    select: str,
    wide_tower_path: Path,
    language_model_path: Path,
    image_spec: ImageSpec,
    tmp_path: Path,
) -> None:
    parts = build_llava(wide_tower_path, language_model_path, connector=name, select=select)
    save(parts.model, parts.tokenizer, tmp_path, image_spec, "vicuna_v1")
    image = Image.fromarray(np.zeros((40, 30, 3), dtype=np.uint8))
    processor = AutoProcessor.from_pretrained(tmp_path)
    ids = processor(text="USER: <image>\nwhat ?", images=image)["input_ids"][0]
    expected = POSITIONS.get(name, 4 + (select == "full"))
    assert (
        list(ids).count(parts.image_token_id)
        == expected
        == load_checkpoint(tmp_path).patches_per_image
    )


def test_the_default_folder_is_one_of_plain_transformers(
    parts: LlavaParts, image_spec: ImageSpec, tmp_path: Path
) -> None:
    save(parts.model, parts.tokenizer, tmp_path, image_spec, "vicuna_v1")
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architectures"] == ["LlavaForConditionalGeneration"]
    assert "connector" not in config
    plain = LlavaForConditionalGeneration.from_pretrained(tmp_path, dtype=torch.float32)
    ids = torch.tensor([[1, 270, *[parts.image_token_id] * 4, 271]])
    pixels = normalise_pixels(
        torch.full((1, 3, IMAGE_PX, IMAGE_PX), 90, dtype=torch.uint8), image_spec, torch.float32
    )
    with torch.inference_mode():
        assert torch.equal(
            parts.model(input_ids=ids, pixel_values=pixels).logits,
            plain(input_ids=ids, pixel_values=pixels).logits,
        )


def test_folders_from_before_there_was_a_choice_load(
    parts: LlavaParts, image_spec: ImageSpec, tmp_path: Path
) -> None:
    save(parts.model, parts.tokenizer, tmp_path, image_spec, "plain")
    side = json.loads((tmp_path / SIDE_FILE).read_text())
    del side["connector"]
    (tmp_path / SIDE_FILE).write_text(json.dumps(side))
    assert connector_of(load_checkpoint(tmp_path).model.config) == "mlp2x_gelu"


@pytest.mark.parametrize("name", ["linear", "resampler3"])
def test_another_architecture_is_named_in_the_folder(
    name: str,
    wide_tower_path: Path,
    language_model_path: Path,
    image_spec: ImageSpec,
    tmp_path: Path,
) -> None:
    """Servers choose their code by it; LLaVA's own code could not hold these weights."""
    parts = build_llava(wide_tower_path, language_model_path, connector=name)
    save(parts.model, parts.tokenizer, tmp_path, image_spec, "plain")
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architectures"] == [LlavaWithConnector.__name__]
    assert config["connector"] == name


@pytest.mark.parametrize(
    ("claimed", "message"),
    [
        ("mlp3x_gelu", "do not fit the configuration, first .*attended"),
        ("resampler5", "do not fit the configuration, first .*queries"),
        ("identity", "do not fit the configuration, first .*attended"),
        ("conv", "conv.* is not known"),
    ],
)
def test_weights_of_another_connector_are_refused(
    claimed: str,
    message: str,
    wide_tower_path: Path,
    language_model_path: Path,
    image_spec: ImageSpec,
    tmp_path: Path,
) -> None:
    parts = build_llava(wide_tower_path, language_model_path, connector="resampler3")
    save(parts.model, parts.tokenizer, tmp_path, image_spec, "plain")
    for file in ("config.json", SIDE_FILE):
        values = json.loads((tmp_path / file).read_text())
        (tmp_path / file).write_text(json.dumps({**values, "connector": claimed}))
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(tmp_path)


def test_a_folder_that_names_two_connectors_is_refused(
    wide_tower_path: Path, language_model_path: Path, image_spec: ImageSpec, tmp_path: Path
) -> None:
    parts = build_llava(wide_tower_path, language_model_path, connector="linear")
    save(parts.model, parts.tokenizer, tmp_path, image_spec, "plain")
    side = json.loads((tmp_path / SIDE_FILE).read_text())
    (tmp_path / SIDE_FILE).write_text(json.dumps({**side, "connector": "mlp1x_gelu"}))
    with pytest.raises(CheckpointError, match=r"'mlp1x_gelu', config\.json names 'linear'"):
        load_checkpoint(tmp_path)
