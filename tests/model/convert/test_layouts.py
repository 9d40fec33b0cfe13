"""Names, shapes and files of the layouts are those of their readers."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

from components.core.errors import CheckpointError, ConfigError
from components.data.config import ImageSpec
from components.model.build import build_llava
from components.model.checkpoint import load_checkpoint, save
from components.model.convert.export import CONNECTOR_FILE, export_model, import_model
from components.model.convert.importing import Lacking
from components.model.convert.small_files import SIDE_FOLDER
from components.model.convert.weights import Piece, list_weights, write_weights
from tests.model.convert.contents import CLIP, ROWS, Foreign, bits, logits, write_language_model
from tests.model.tiny_parts import write_tower

ONE_LAYER_ORIGINAL = {
    "lm_head.weight": [ROWS, 24],
    "model.embed_tokens.weight": [ROWS, 24],
    "model.layers.0.input_layernorm.weight": [24],
    "model.layers.0.mlp.down_proj.weight": [24, 40],
    "model.layers.0.mlp.gate_proj.weight": [40, 24],
    "model.layers.0.mlp.up_proj.weight": [40, 24],
    "model.layers.0.post_attention_layernorm.weight": [24],
    "model.layers.0.self_attn.k_proj.weight": [12, 24],
    "model.layers.0.self_attn.o_proj.weight": [24, 24],
    "model.layers.0.self_attn.q_proj.weight": [24, 24],
    "model.layers.0.self_attn.v_proj.weight": [12, 24],
    "model.mm_projector.0.bias": [24],
    "model.mm_projector.0.weight": [24, 16],
    "model.mm_projector.2.bias": [24],
    "model.mm_projector.2.weight": [24, 24],
    "model.norm.weight": [24],
    f"{CLIP}embeddings.class_embedding": [16],
    f"{CLIP}embeddings.patch_embedding.weight": [16, 3, 14, 14],
    f"{CLIP}embeddings.position_embedding.weight": [5, 16],
    f"{CLIP}encoder.layers.0.layer_norm1.bias": [16],
    f"{CLIP}encoder.layers.0.layer_norm1.weight": [16],
    f"{CLIP}encoder.layers.0.layer_norm2.bias": [16],
    f"{CLIP}encoder.layers.0.layer_norm2.weight": [16],
    f"{CLIP}encoder.layers.0.mlp.fc1.bias": [32],
    f"{CLIP}encoder.layers.0.mlp.fc1.weight": [32, 16],
    f"{CLIP}encoder.layers.0.mlp.fc2.bias": [16],
    f"{CLIP}encoder.layers.0.mlp.fc2.weight": [16, 32],
    f"{CLIP}encoder.layers.0.self_attn.k_proj.bias": [16],
    f"{CLIP}encoder.layers.0.self_attn.k_proj.weight": [16, 16],
    f"{CLIP}encoder.layers.0.self_attn.out_proj.bias": [16],
    f"{CLIP}encoder.layers.0.self_attn.out_proj.weight": [16, 16],
    f"{CLIP}encoder.layers.0.self_attn.q_proj.bias": [16],
    f"{CLIP}encoder.layers.0.self_attn.q_proj.weight": [16, 16],
    f"{CLIP}encoder.layers.0.self_attn.v_proj.bias": [16],
    f"{CLIP}encoder.layers.0.self_attn.v_proj.weight": [16, 16],
    f"{CLIP}post_layernorm.bias": [16],
    f"{CLIP}post_layernorm.weight": [16],
    f"{CLIP}pre_layrnorm.bias": [16],
    f"{CLIP}pre_layrnorm.weight": [16],
}


def test_names_and_shapes_of_the_original(
    vision_tower_path: Path, language_model_path: Path, image_spec: ImageSpec, tmp_path: Path
) -> None:
    tower = CLIPVisionConfig.from_pretrained(vision_tower_path, num_hidden_layers=1)
    CLIPVisionModel(tower).save_pretrained(tmp_path / "tower")
    language = write_language_model(language_model_path, tmp_path / "language", num_hidden_layers=1)
    parts = build_llava(tmp_path / "tower", language)
    folder = save(parts.model, parts.tokenizer, tmp_path / "ours", image_spec, "vicuna_v1")
    found = list_weights(export_model(folder, tmp_path / "llava", "original"))
    assert {name: list(each.shape) for name, each in found.items()} == ONE_LAYER_ORIGINAL
    config_values = json.loads((tmp_path / "llava" / "config.json").read_text())
    expected = {
        "model_type": "llava_llama",
        "architectures": ["LlavaLlamaForCausalLM"],
        "vocab_size": ROWS,
        "mm_hidden_size": 16,
        "mm_projector_type": "mlp2x_gelu",
        "mm_vision_select_layer": -2,
        "mm_vision_select_feature": "patch",
        "mm_use_im_start_end": False,
        "mm_use_im_patch_token": False,
        "image_aspect_ratio": "pad",
        "use_mm_proj": True,
        "rope_theta": 10000.0,
    }
    assert {name: config_values[name] for name in expected} == expected


def test_the_connector_alone(
    vision_tower_path: Path, language_model_path: Path, image_spec: ImageSpec, tmp_path: Path
) -> None:
    parts = build_llava(vision_tower_path, language_model_path, seed=5)
    ours = save(parts.model, parts.tokenizer, tmp_path / "ours", image_spec, "plain")
    there = export_model(ours, tmp_path / "connector", "connector")
    weights = load_file(there / CONNECTOR_FILE)
    assert {name: list(weight.shape) for name, weight in weights.items()} == {
        name: shape for name, shape in ONE_LAYER_ORIGINAL.items() if "mm_projector" in name
    }
    assert not list(there.glob("*.bin"))
    base = Lacking(vision_tower_path, language_model_path)
    back = import_model(there, tmp_path / "back", base)
    assert bits(back) == bits(ours)
    assert load_checkpoint(back).template == "plain"
    shutil.rmtree(there / SIDE_FOLDER)
    rebuilt = import_model(there, tmp_path / "rebuilt", base, template="plain", seed=5)
    assert bits(rebuilt) == bits(ours)
    with pytest.raises(ConfigError, match="--language-model"):
        import_model(there, tmp_path / "lacking", Lacking(vision_tower_path))


def test_names_of_the_hub(folder: Path, tmp_path: Path) -> None:
    path = export_model(folder, tmp_path / "hf", "llava-hf")
    prefixes = {
        "language_model.lm_head.weight",
        "language_model.model.embed_tokens.weight",
        "language_model.model.norm.weight",
        "multi_modal_projector.linear_1.weight",
        "multi_modal_projector.linear_2.bias",
        "vision_tower.vision_model.encoder.layers.0.mlp.fc1.weight",
        "vision_tower.vision_model.pre_layrnorm.weight",
    }
    names = set(list_weights(path))
    assert prefixes <= names
    parts = ("language_model.", "multi_modal_projector.", "vision_tower.vision_model.")
    assert all(name.startswith(parts) for name in names)
    assert json.loads((path / "processor_config.json").read_text()) == {
        "image_token": "<image>",
        "num_additional_image_tokens": 1,
        "patch_size": 14,
        "processor_class": "LlavaProcessor",
        "vision_feature_select_strategy": "default",
    }
    config = json.loads((path / "config.json").read_text())
    assert (config["torch_dtype"], config["text_config"]["rope_theta"]) == ("bfloat16", 10000.0)


def test_plain_transformers_reads_the_hub_layout(folder: Path, tmp_path: Path) -> None:
    path = export_model(folder, tmp_path / "hf", "llava-hf")
    model = LlavaForConditionalGeneration.from_pretrained(path, dtype=torch.float32).eval()
    assert torch.equal(logits(model), logits(load_checkpoint(folder).model))
    processor = LlavaProcessor.from_pretrained(path)
    ours = LlavaProcessor.from_pretrained(folder)
    assert processor.image_processor.to_dict() == ours.image_processor.to_dict()
    text = "<image> what is in the image ?"
    assert processor.tokenizer(text).input_ids == ours.tokenizer(text).input_ids


def test_the_image_settings_come_from_the_hub_folder(
    foreign: Foreign, image_spec: ImageSpec, tmp_path: Path
) -> None:
    theirs = foreign("llava-hf")
    assert load_checkpoint(import_model(theirs, tmp_path / "padded")).image_spec == image_spec
    path = theirs / "preprocessor_config.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "do_pad": False}))
    assert load_checkpoint(import_model(theirs, tmp_path / "cut")).image_spec.aspect == "crop"
    path.write_text(json.dumps({**values, "crop_size": {"height": 14, "width": 14}}))
    with pytest.raises(CheckpointError, match="images of 14 px"):
        import_model(theirs, tmp_path / "other")


def test_tensors_go_into_several_files_and_come_out_of_them(folder: Path, tmp_path: Path) -> None:
    weights = {name: Piece(each) for name, each in list_weights(folder).items()}
    advanced: list[int] = []
    shutil.copytree(folder, tmp_path / "sharded", ignore=shutil.ignore_patterns("*.safetensors"))
    write_weights(tmp_path / "sharded", weights, advanced.append, max_file_bytes=30_000)
    files = sorted(path.name for path in (tmp_path / "sharded").glob("*.safetensors"))
    assert len(files) > 2
    assert files[0] == f"model-00001-of-{len(files):05d}.safetensors"
    assert sum(advanced) == len(weights)
    assert all((tmp_path / "sharded" / name).stat().st_size < 40_000 for name in files)
    assert bits(tmp_path / "sharded") == bits(folder)
    there = export_model(tmp_path / "sharded", tmp_path / "llava", "original")
    assert bits(import_model(there, tmp_path / "back")) == bits(folder)


def test_rotary_positions_keep_their_kind(
    vision_tower_path: Path, language_model_path: Path, image_spec: ImageSpec, tmp_path: Path
) -> None:
    """Older readers find them in two fields of their own; the original's knows few kinds."""
    rope = {"rope_type": "yarn", "rope_theta": 500000.0, "factor": 4.0}
    scaled = {**rope, "original_max_position_embeddings": 512}
    language = write_language_model(
        language_model_path, tmp_path / "language", rope_parameters=scaled
    )
    parts = build_llava(vision_tower_path, language)
    ours = save(parts.model, parts.tokenizer, tmp_path / "ours", image_spec, "vicuna_v1")
    theirs = export_model(ours, tmp_path / "hf", "llava-hf")
    text = json.loads((theirs / "config.json").read_text())["text_config"]
    assert text["rope_theta"] == 500000.0
    assert text["rope_scaling"]["rope_type"] == "yarn"
    model = LlavaForConditionalGeneration.from_pretrained(theirs, dtype=torch.float32).eval()
    assert torch.equal(logits(model), logits(parts.model))
    with pytest.raises(CheckpointError, match="'yarn'"):
        export_model(ours, tmp_path / "llava", "original")


def test_siglip_has_a_place_in_the_hub_layout_only(
    language_model_path: Path, image_spec: ImageSpec, tmp_path: Path
) -> None:
    tower = write_tower("siglip", tmp_path / "tower")
    parts = build_llava(tower, language_model_path, select="full")
    ours = save(parts.model, parts.tokenizer, tmp_path / "ours", image_spec, "vicuna_v1")
    theirs = export_model(ours, tmp_path / "hf", "llava-hf")
    assert "vision_tower.vision_model.post_layernorm.weight" in list_weights(theirs)
    assert bits(import_model(theirs, tmp_path / "back")) == bits(ours)
    with pytest.raises(CheckpointError, match="--layout llava-hf"):
        export_model(ours, tmp_path / "llava", "original")
