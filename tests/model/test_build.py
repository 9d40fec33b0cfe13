"""Assembly: ids, rows, counts and refusals."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoTokenizer,
    CLIPVisionModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
)

from components.core.errors import CheckpointError, ConfigError
from components.model.build import LlavaParts, build_llava, patches_per_image
from components.model.learning.freeze import freeze_for_stage
from components.model.sizes.shapes import read_shapes
from components.model.tokenizer import load_tokenizer


def test_image_and_padding_tokens_follow_the_vocabulary(
    parts: LlavaParts, language_model_path: Path
) -> None:
    vocabulary = LlamaForCausalLM.from_pretrained(language_model_path).config.vocab_size
    assert parts.image_token_id == vocabulary
    assert parts.tokenizer.pad_token_id == vocabulary + 1
    rows = parts.model.get_input_embeddings().weight
    assert rows.shape[0] % 64 == 0 and rows.shape[0] >= vocabulary + 2
    assert parts.model.lm_head.weight.shape[0] == rows.shape[0]
    assert parts.model.config.image_seq_length == patches_per_image(parts.model.config) == 4


def test_tokenizer_alone_gives_the_ids_of_the_built_model(
    parts: LlavaParts, language_model_path: Path
) -> None:
    tokenizer, image_token_id = load_tokenizer(language_model_path)
    text = "what is <image> in the image ? caf\u00e9 <pad>"
    assert image_token_id == parts.image_token_id
    assert tokenizer(text).input_ids == parts.tokenizer(text).input_ids
    assert image_token_id in tokenizer(text).input_ids


def test_the_parts_keep_their_weights(
    parts: LlavaParts, vision_tower_path: Path, language_model_path: Path
) -> None:
    tower = CLIPVisionModel.from_pretrained(vision_tower_path)
    for name, weight in tower.state_dict().items():
        assert torch.equal(weight, parts.model.model.vision_tower.state_dict()[name]), name
    language = LlamaForCausalLM.from_pretrained(language_model_path)
    for name, weight in language.state_dict().items():
        rows = parts.model.model.language_model.state_dict() | {
            "lm_head.weight": parts.model.lm_head.weight
        }
        found = rows[name.removeprefix("model.")]
        assert torch.equal(weight, found[: len(weight)]), name


def test_the_seed_decides_the_connector(
    parts: LlavaParts, vision_tower_path: Path, language_model_path: Path
) -> None:
    again = build_llava(vision_tower_path, language_model_path, seed=3)
    other = build_llava(vision_tower_path, language_model_path, seed=4)
    states = [p.model.state_dict() for p in (parts, again, other)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    name = "model.multi_modal_projector.linear_1.weight"
    assert not torch.equal(states[0][name], states[2][name])


@pytest.mark.parametrize(
    ("train", "expected"),
    [
        (("connector",), "model.multi_modal_projector"),
        (
            ("connector", "language_model"),
            ("model.multi_modal_projector", "model.language_model", "lm_head"),
        ),
        (("vision_tower",), "model.vision_tower"),
    ],
    ids=["pretrain", "finetune", "tower"],
)
def test_freezing_leaves_exactly_the_named_parts(
    parts: LlavaParts, train: tuple[str, ...], expected: str | tuple[str, ...]
) -> None:
    counts = freeze_for_stage(parts.model, train)
    learns = {name for name, p in parts.model.named_parameters() if p.requires_grad}
    assert learns == {
        name for name, _ in parts.model.named_parameters() if name.startswith(expected)
    }
    sizes = {name: p.numel() for name, p in parts.model.named_parameters()}
    assert counts == (sum(sizes[name] for name in learns), sum(sizes.values()))


def test_connector_count_is_that_of_two_linear_layers(parts: LlavaParts) -> None:
    assert freeze_for_stage(parts.model, ("connector",)).trainable == 16 * 24 + 24 + 24 * 24 + 24


def test_unknown_names_are_refused(
    parts: LlavaParts, vision_tower_path: Path, language_model_path: Path
) -> None:
    with pytest.raises(ConfigError, match="expected one or more of connector"):
        freeze_for_stage(parts.model, ("projector",))
    with pytest.raises(ConfigError, match="choose from linear, mlp2x_gelu"):
        build_llava(vision_tower_path, language_model_path, connector="mlp")
    with pytest.raises(CheckpointError, match="no such folder"):
        build_llava(vision_tower_path, language_model_path / "absent")
    with pytest.raises(CheckpointError, match="no such folder"):
        build_llava(vision_tower_path / "absent", language_model_path)


@pytest.mark.parametrize("layer", [4, -5, 50])
def test_a_layer_that_the_tower_has_not_is_refused(
    layer: int, vision_tower_path: Path, language_model_path: Path
) -> None:
    message = f"feature_layer={layer}: the tower has 3 layers"
    with pytest.raises(ConfigError, match=message):
        build_llava(vision_tower_path, language_model_path, feature_layer=layer)
    with pytest.raises(ConfigError, match=message):
        read_shapes(vision_tower_path, language_model_path, feature_layer=layer)


def test_a_tokenizer_of_another_model_is_refused(
    vision_tower_path: Path, language_model_path: Path, tmp_path: Path
) -> None:
    """Fresh rows would take the place of those that its tokens were trained with."""
    config = LlamaConfig.from_pretrained(language_model_path, vocab_size=300)
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(language_model_path).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"328 tokens, but the model has rows for 300"):
        build_llava(vision_tower_path, tmp_path)


def test_a_vocabulary_without_a_free_id_for_the_image_token_is_refused(
    language_model_path: Path, tmp_path: Path
) -> None:
    """A new token's id is the count of tokens; where ids were left out another has it already."""
    folder = shutil.copytree(language_model_path, tmp_path / "folder")
    values = json.loads((folder / "tokenizer.json").read_text())
    vocabulary = values["model"]["vocab"]
    last = max(vocabulary, key=vocabulary.get)
    vocabulary[last] = len(vocabulary)
    (folder / "tokenizer.json").write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match=r"<image> would have id 328, which is that of"):
        load_tokenizer(folder)


def test_code_that_comes_with_a_folder_is_neither_run_nor_offered(
    vision_tower_path: Path, language_model_path: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    """transformers would ask on the terminal whether to run it."""
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    (tmp_path / "code.py").write_text("raise SystemExit('it ran')\n")
    code = {"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"}
    for name, path in (("tower", vision_tower_path), ("language", language_model_path)):
        folder = shutil.copytree(path, tmp_path / name)
        shutil.copy(tmp_path / "code.py", folder)
        values = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(
            json.dumps({**values, "model_type": "clip_of_mine", "auto_map": code})
        )
    for tower, language in ((tmp_path / "tower", language_model_path), (vision_tower_path, folder)):
        with pytest.raises(CheckpointError, match="custom code"):
            build_llava(tower, language)


def test_a_language_model_of_another_build_is_refused(
    vision_tower_path: Path, language_model_path: Path, tmp_path: Path
) -> None:
    AutoTokenizer.from_pretrained(language_model_path).save_pretrained(tmp_path)
    config = GPT2Config(vocab_size=328, n_embd=16, n_layer=1, n_head=2)
    GPT2LMHeadModel(config).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"'gpt2'.*expected one of the Llama family"):
        build_llava(vision_tower_path, tmp_path)
