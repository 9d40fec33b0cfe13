"""The shipped tiny base: its size, its folders, its scale; and that its recipe runs from a seed."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from components.data.pocket.things import COLOURS, OBJECTS, SIGN_WORDS
from components.model.build import build_llava
from components.model.tokenizer import load_tokenizer
from workflows.tiny_base import build, corpus, recipe, scenes, text_batches, vision
from workflows.tiny_base.tokenizer import train_tokenizer, word_ids

SHIPPED = Path(build.__file__).parent
TOWER, LANGUAGE_MODEL = SHIPPED / build.VISION_TOWER, SHIPPED / build.LANGUAGE_MODEL

torch.set_num_threads(1)


def test_both_folders_are_ordinary_small_and_build_a_model() -> None:
    files = [
        path for folder in (TOWER, LANGUAGE_MODEL) for path in folder.rglob("*") if path.is_file()
    ]
    assert sum(path.stat().st_size for path in files) <= build.MAX_BYTES
    assert {path.suffix for path in files} <= {".json", ".safetensors", ".md"}
    parts = build_llava(TOWER, LANGUAGE_MODEL)
    assert parts.model.config.image_seq_length == scenes.NUM_PATCHES
    assert len(parts.model.get_input_embeddings().weight) == 1024


def test_every_patch_word_is_one_token_and_every_text_comes_back() -> None:
    tokenizer, image_token_id = load_tokenizer(LANGUAGE_MODEL)
    assert image_token_id == recipe.tiny_base().language.vocab_size
    for word in (*COLOURS, *(thing.name for thing in OBJECTS), *SIGN_WORDS):
        assert len(tokenizer(word, add_special_tokens=False).input_ids) == 1, word
    for text in ("caf\u00e9 \u65e5\u672c {x: 1.5}\tend", "A  double space", "<0x41> is text"):
        ids = tokenizer(text, add_special_tokens=False).input_ids
        assert tokenizer.decode(ids) == text


def test_features_have_unit_scale() -> None:
    """The connector has no LayerNorm, so the tower must give it well-scaled inputs."""
    from transformers import CLIPVisionModel

    tower = CLIPVisionModel.from_pretrained(TOWER, dtype=torch.float32).eval()
    features = vision.patch_features(tower, next(scenes.scene_batches(3, 32, 1, "eval")).pixels)
    assert features.std().item() == pytest.approx(1.0, abs=0.1)
    assert abs(features.mean().item()) < 0.1


def test_training_draws_training_scenes_only_and_repeats_with_the_seed() -> None:
    rng = random.Random(0)
    drawn = [corpus.draw_sample(rng, early=index % 2 == 0) for index in range(200)]
    assert {sample.scene.split for sample in drawn if sample.scene} == {"train"}
    assert all(scenes.draw_scene(rng).split == "train" for _ in range(50))
    first, again = (next(scenes.scene_batches(5, 4, 1, "train")) for _ in range(2))
    assert np.array_equal(first.pixels, again.pixels) and first.captions == again.captions


def test_rescaling_leaves_the_tower_function_unchanged() -> None:
    torch.manual_seed(0)
    tower = vision.CLIPVisionModel(vision.vision_config(recipe.tiny_base().vision)).eval()
    pixels = vision.normalise(next(scenes.scene_batches(1, 2, 1, "train")).pixels)
    with torch.no_grad():
        before = tower(pixels).pooler_output
        vision.give_unit_scale(tower, seed=1, num_images=8)
        # LayerNorm's epsilon is the only thing that does not scale.
        torch.testing.assert_close(tower(pixels).pooler_output, before, atol=1e-3, rtol=1e-3)


def test_text_batches_label_answers_and_spoil_only_training(tmp_path: Path) -> None:
    texts = corpus.transcripts(random.Random(2), 300)
    own = train_tokenizer(texts, 700)
    own.save_pretrained(tmp_path)
    tokenizer, image_token_id = load_tokenizer(tmp_path)
    maker = text_batches.BatchMaker(tokenizer, image_token_id, word_ids(own))
    rng = random.Random(3)
    rows = maker.encode([corpus.single_question(rng, "background", "eval") for _ in range(3)])
    measured, learnt = maker.batch(rows), maker.batch(rows, rng, progress=1.0)
    is_image = measured.input_ids == image_token_id
    assert (is_image.sum(1) == scenes.NUM_PATCHES).all()
    # An answer of one colour word and the end token; all other labels are left out.
    assert ((measured.labels != text_batches.IGNORE_INDEX).sum(1) == 2).all()
    assert torch.equal(measured.labels, learnt.labels)
    assert (measured.aspect_weights == 1).all() and (measured.noise == 0).all()
    assert measured.words.shape == (3, scenes.NUM_PATCHES, text_batches.NUM_ASPECTS)


@pytest.mark.slow
def test_the_recipe_runs_end_to_end_at_a_toy_size(tmp_path: Path) -> None:
    config = recipe.tiny_base()
    toy = config.with_(
        vision=config.vision.with_(hidden_size=32, intermediate_size=64, num_steps=2, batch_size=4),
        language=config.language.with_(
            hidden_size=24, intermediate_size=32, num_layers=1, num_heads=2, num_steps=2,
            tokenizer_samples=1500, tokens_per_batch=1024,
        ),
    )  # fmt: skip
    figures = build.build_tiny_base(tmp_path, toy)
    assert set(figures) == {build.VISION_TOWER, build.LANGUAGE_MODEL}
    assert json.loads((tmp_path / "figures.json").read_text()) == figures
    build_llava(tmp_path / build.VISION_TOWER, tmp_path / build.LANGUAGE_MODEL)
