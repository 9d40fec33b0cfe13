"""Every bit comes back, of our folders and of those that others published."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoTokenizer, CLIPVisionModel, LlavaForConditionalGeneration

from components.core.errors import CheckpointError
from components.data.config import ImageSpec
from components.model.build import build_llava
from components.model.checkpoint import load_checkpoint, save
from components.model.convert.export import Layout, export_model, import_model
from components.model.convert.importing import Lacking
from components.model.convert.small_files import ROWS_FILE, SIDE_FOLDER
from components.model.convert.weights import list_weights
from tests.model.convert.contents import (
    CLIP,
    LAYOUTS,
    ROWS,
    Foreign,
    bits,
    logits,
    small_files,
    write,
    write_language_model,
)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_our_folder_comes_back_bit_for_bit(layout: Layout, folder: Path, tmp_path: Path) -> None:
    there = export_model(folder, tmp_path / "llava", layout)
    back = import_model(there, tmp_path / "back")
    assert bits(back) == bits(folder)
    assert small_files(back) == small_files(folder)
    assert not list(back.glob(SIDE_FOLDER))
    loaded = load_checkpoint(back)
    assert (loaded.template, loaded.extra) == ("plain", {"stage": "finetune"})


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_foreign_folder_comes_back_bit_for_bit(
    layout: Layout, foreign: Foreign, vision_tower_path: Path, tmp_path: Path
) -> None:
    theirs = foreign(layout)
    lacking = Lacking(vision_tower_path) if layout == "original" else None
    ours = import_model(theirs, tmp_path / "ours", lacking)
    again = export_model(ours, tmp_path / "again", layout)
    assert bits(again) == bits(theirs)
    loaded = load_checkpoint(ours)
    assert loaded.template == "vicuna_v1"
    assert (loaded.image_spec.size_px, loaded.image_spec.aspect) == (28, "pad")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_logits_are_equal(
    layout: Layout,
    folder: Path,
    foreign: Foreign,
    vision_tower_path: Path,
    tmp_path: Path,
) -> None:
    """Also for a folder of others, whose new rows only the new tokens' logits depend on."""
    lacking = Lacking(vision_tower_path) if layout == "original" else None
    ours = import_model(foreign(layout), tmp_path / "ours", lacking)
    assert torch.equal(logits(load_checkpoint(ours).model), logits(load_checkpoint(folder).model))


def test_trimmed_rows_come_back(folder: Path, tmp_path: Path) -> None:
    there = export_model(folder, tmp_path / "llava", "original")
    whole, cut = load_file(folder / "model.safetensors"), load_file(there / "model.safetensors")
    rows = load_file(there / SIDE_FOLDER / ROWS_FILE)
    names = {
        "model.embed_tokens.weight": "language_model.model.embed_tokens.weight",
        "lm_head.weight": "language_model.lm_head.weight",
    }
    assert rows.keys() == names.keys()
    for theirs, ours in names.items():
        assert len(cut[theirs]) == ROWS
        assert torch.equal(torch.cat([cut[theirs], rows[theirs]]), whole[ours])
    tokenizer = AutoTokenizer.from_pretrained(there)
    assert len(tokenizer) == ROWS
    assert tokenizer.pad_token == "<unk>"


def test_new_rows_are_those_of_build(
    vision_tower_path: Path, language_model_path: Path, image_spec: ImageSpec, tmp_path: Path
) -> None:
    parts = build_llava(vision_tower_path, language_model_path, seed=5)
    ours = save(parts.model, parts.tokenizer, tmp_path / "ours", image_spec, "vicuna_v1")
    theirs = export_model(ours, tmp_path / "llava", "original")
    shutil.rmtree(theirs / SIDE_FOLDER)
    again = import_model(theirs, tmp_path / "again", Lacking(vision_tower_path), seed=5)
    assert bits(again) == bits(ours)
    assert load_checkpoint(again).tokenizer.get_vocab() == parts.tokenizer.get_vocab()
    other = import_model(theirs, tmp_path / "other", Lacking(vision_tower_path), seed=6)
    assert bits(other) != bits(ours)


def test_tied_rows_come_back(
    vision_tower_path: Path, language_model_path: Path, image_spec: ImageSpec, tmp_path: Path
) -> None:
    language = write_language_model(
        language_model_path, tmp_path / "language", tie_word_embeddings=True
    )
    parts = build_llava(vision_tower_path, language, seed=5)
    ours = save(parts.model, parts.tokenizer, tmp_path / "ours", image_spec, "vicuna_v1")
    for layout in LAYOUTS:
        theirs = export_model(ours, tmp_path / f"llava-{layout}", layout)
        assert bits(import_model(theirs, tmp_path / f"back-{layout}")) == bits(ours)
    shutil.rmtree(tmp_path / "llava-original" / SIDE_FOLDER)
    lacking = Lacking(vision_tower_path)
    again = import_model(tmp_path / "llava-original", tmp_path / "again", lacking, seed=5)
    assert bits(again) == bits(ours)


def test_flat_names_of_some_releases_are_read(folder: Path, tmp_path: Path) -> None:
    """transformers 4.52 and later wrote the names in memory."""
    model = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.bfloat16)
    shutil.copytree(folder, tmp_path / "flat")
    write(tmp_path / "flat", {name: each.clone() for name, each in model.state_dict().items()})
    there = export_model(tmp_path / "flat", tmp_path / "llava", "original")
    assert bits(import_model(there, tmp_path / "back")) == bits(folder)


def test_the_published_model_type_is_read_too(
    foreign: Foreign, vision_tower_path: Path, tmp_path: Path
) -> None:
    theirs = foreign("original")
    config = json.loads((theirs / "config.json").read_text())
    (theirs / "config.json").write_text(json.dumps({**config, "model_type": "llava"}))
    load_checkpoint(import_model(theirs, tmp_path / "ours", Lacking(vision_tower_path)))


def test_an_official_folder_needs_the_tower(
    foreign: Foreign, vision_tower_path: Path, folder: Path, tmp_path: Path
) -> None:
    """Official shards hold no tower, but buffers that transformers computes itself today."""
    theirs = foreign("original")
    weights = load_file(theirs / "model.safetensors")
    weights = {name: each for name, each in weights.items() if not name.startswith(CLIP)}
    weights["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.zeros(6)
    write(theirs, weights)
    with pytest.raises(CheckpointError, match="--vision-tower"):
        import_model(theirs, tmp_path / "none")
    ours = import_model(theirs, tmp_path / "ours", Lacking(vision_tower_path))
    tower = CLIPVisionModel.from_pretrained(vision_tower_path).state_dict()
    found = load_checkpoint(ours).model.model.vision_tower.state_dict()
    assert all(torch.equal(found[name], weight) for name, weight in tower.items())


def test_a_whole_clip_and_older_names_serve_as_tower(
    foreign: Foreign, vision_tower_path: Path, tmp_path: Path
) -> None:
    theirs = foreign("original")
    weights = load_file(theirs / "model.safetensors")
    tower = {name: weights.pop(name) for name in list(weights) if name.startswith(CLIP)}
    write(theirs, weights)
    older = {"vision_model." + name.removeprefix(CLIP): each for name, each in tower.items()}
    older |= {"text_model.final.weight": torch.ones(1), "logit_scale": torch.ones(())}
    older["vision_model.embeddings.position_ids"] = torch.arange(5)
    shutil.copytree(vision_tower_path, tmp_path / "clip")
    write(tmp_path / "clip", older)
    ours = import_model(theirs, tmp_path / "ours", Lacking(tmp_path / "clip"))
    found = list_weights(ours)["vision_tower.embeddings.class_embedding"].read()
    assert torch.equal(found, tower[f"{CLIP}embeddings.class_embedding"])
