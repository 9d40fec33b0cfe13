"""Folders: plain transformers loads them, and damaged ones are refused with what to do."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoProcessor, LlavaForConditionalGeneration

from components.core.errors import CheckpointError
from components.data.config import ImageSpec
from components.data.conversation import render
from components.data.images import load_image
from components.data.records import Turn
from components.data.tokens import encode, expand_image_tokens
from components.model.build import LlavaParts
from components.model.checkpoint import SIDE_FILE, load_checkpoint, save
from components.model.embed import normalise_pixels


@pytest.fixture
def folder(parts: LlavaParts, image_spec: ImageSpec, tmp_path: Path) -> Path:
    extra = {"stage": "pretrain", "recipe": "tiny"}
    return save(parts.model, parts.tokenizer, tmp_path / "model", image_spec, "vicuna_v1", extra)


def test_round_trip_gives_equal_logits(
    parts: LlavaParts, image_spec: ImageSpec, folder: Path
) -> None:
    loaded = load_checkpoint(folder)
    image = parts.image_token_id
    ids = torch.tensor([[1, 270, image, image, image, image, 271]])
    pixels = normalise_pixels(
        torch.full((1, 3, 28, 28), 90, dtype=torch.uint8), image_spec, torch.float32
    )
    plain = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    with torch.inference_mode():
        before = parts.model(input_ids=ids, pixel_values=pixels).logits
        assert torch.equal(before, loaded.model(input_ids=ids, pixel_values=pixels).logits)
        assert torch.equal(before, plain(input_ids=ids, pixel_values=pixels).logits)
    assert (loaded.template, loaded.image_spec) == ("vicuna_v1", image_spec)
    assert (loaded.image_token_id, loaded.patches_per_image) == (image, 4)
    assert loaded.pad_token_id == parts.tokenizer.pad_token_id
    assert loaded.extra == {"stage": "pretrain", "recipe": "tiny"}


def test_the_folder_holds_safetensors_only(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()}
    assert {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "chat_template.jinja",
        SIDE_FILE,
    } <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pth"))]


def test_plain_transformers_prepares_the_same_prompt_and_image(
    folder: Path, image_spec: ImageSpec, tmp_path: Path
) -> None:
    """Its processor and chat template give our ids, and its image path our pixels (to
    resampling).
    """
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (28, 28, 3), dtype=np.uint8))
    image.save(tmp_path / "image.png")
    processor = AutoProcessor.from_pretrained(folder)
    content = [{"type": "image"}, {"type": "text", "text": "what is in the image ?"}]
    text = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True
    )
    theirs = processor(text=text, images=image, return_tensors="pt")
    loaded = load_checkpoint(folder)
    segments = render([Turn("human", "what is in the image ?")], has_image=True, generation=True)
    ours = encode(segments, loaded.tokenizer, loaded.image_token_id)
    expanded, _ = expand_image_tokens(
        ours.input_ids, ours.labels, loaded.patches_per_image, loaded.image_token_id
    )
    their_ids = theirs["input_ids"][0].tolist()
    bos = [] if their_ids[0] == loaded.tokenizer.bos_token_id else [loaded.tokenizer.bos_token_id]
    assert (
        loaded.tokenizer.decode(bos + their_ids).split()
        == loaded.tokenizer.decode(expanded).split()
    )
    assert their_ids.count(loaded.image_token_id) == loaded.patches_per_image
    pixels = torch.from_numpy(load_image(tmp_path / "image.png", image_spec))
    torch.testing.assert_close(
        theirs["pixel_values"][0],
        normalise_pixels(pixels, image_spec, torch.float32),
        atol=1e-4,
        rtol=1e-4,
    )


def test_state_dict_replaces_the_weights_in_memory(
    parts: LlavaParts, image_spec: ImageSpec, tmp_path: Path
) -> None:
    """As ZeRO-3 needs it: the gathered weights are saved, not the partitioned ones."""
    gathered = {name: weight.clone() for name, weight in parts.model.state_dict().items()}
    with torch.no_grad():
        parts.model.lm_head.weight.zero_()
    save(parts.model, parts.tokenizer, tmp_path, image_spec, "plain", state_dict=gathered)
    assert torch.equal(load_checkpoint(tmp_path).model.lm_head.weight, gathered["lm_head.weight"])


def test_half_precision_on_request(folder: Path) -> None:
    assert load_checkpoint(folder, dtype="bfloat16").model.lm_head.weight.dtype == torch.bfloat16


def test_truncated_weights_are_refused(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="damaged or cut short"):
        load_checkpoint(folder)


def test_pickled_weights_are_refused(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="pickles"):
        load_checkpoint(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", SIDE_FILE])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=str(folder)):
        load_checkpoint(folder)


def test_weights_of_another_shape_are_refused(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["num_hidden_layers"] = 3
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="do not fit the configuration"):
        load_checkpoint(folder)


def test_a_damaged_side_file_is_refused(folder: Path) -> None:
    (folder / SIDE_FILE).write_text('{"schema_version": 1}')
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        # An empty configuration is one of 7B to transformers, which then asks for 28 GB.
        ("config.json", {"text_config": None}, "'text_config' is missing"),
        ("config.json", {"model_type": "llama"}, "'model_type' is 'llama'"),
        ("config.json", {"vision_feature_select_strategy": "first"}, "cannot be read"),
        ("tokenizer_config.json", {"eos_token": None}, "no end token"),
        (
            SIDE_FILE,
            {"image_spec": {"size_px": 56, "mean": [0.5] * 3, "std": [0.5] * 3}},
            "prepared at 56 px, but the tower takes 28 px",
        ),
    ],
)
def test_settings_of_no_model_or_of_another_are_refused(
    file: str, changes: dict[str, object], message: str, folder: Path
) -> None:
    values = json.loads((folder / file).read_text())
    kept = {name: value for name, value in {**values, **changes}.items() if value is not None}
    (folder / file).write_text(json.dumps(kept))
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(folder)
