"""Layouts: names and shapes as the original has them, every bit back, clear words for the rest."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    AutoTokenizer,
    CLIPVisionConfig,
    CLIPVisionModel,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from components.core.errors import CheckpointError, ConfigError
from components.data.config import ImageSpec
from components.model.build import LlavaParts, build_llava
from components.model.checkpoint import load, save
from components.model.convert import CONNECTOR_FILE, Layout, export_model, import_model
from components.model.convert_folder import ROWS_FILE, SIDE_FOLDER
from components.model.convert_import import Lacking
from components.model.convert_weights import Piece, list_weights, write_weights

LAYOUTS: tuple[Layout, ...] = ("original", "llava-hf")
CLIP = "model.vision_tower.vision_tower.vision_model."
ROWS = 328
"""Tokens of the tiny language model of `conftest.py`."""

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


@pytest.fixture
def folder(parts: LlavaParts, image_spec: ImageSpec, tmp_path: Path) -> Path:
    """A folder of ours in bf16, as a stage leaves it."""
    parts.model.to(torch.bfloat16)
    extra = {"stage": "finetune"}
    return save(parts.model, parts.tokenizer, tmp_path / "model", image_spec, "plain", extra)


@pytest.fixture
def foreign(folder: Path, tmp_path: Path) -> Callable[[Layout], Path]:
    """Folders as others publish them: nothing of ours in them."""

    def write(layout: Layout) -> Path:
        path = export_model(folder, tmp_path / f"llava-{layout}", layout)
        shutil.rmtree(path / SIDE_FOLDER)
        return path

    return write


def test_names_and_shapes_of_the_original(
    language_model_path: Path, image_spec: ImageSpec, tmp_path: Path
) -> None:
    tower = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=28,
        patch_size=14,
    )
    CLIPVisionModel(tower).save_pretrained(tmp_path / "tower")
    config = LlamaConfig.from_pretrained(language_model_path, num_hidden_layers=1)
    AutoTokenizer.from_pretrained(language_model_path).save_pretrained(tmp_path / "language")
    LlamaForCausalLM(config).save_pretrained(tmp_path / "language")
    parts = build_llava(tmp_path / "tower", tmp_path / "language")
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


@pytest.mark.parametrize("layout", LAYOUTS)
def test_our_folder_comes_back_bit_for_bit(layout: Layout, folder: Path, tmp_path: Path) -> None:
    there = export_model(folder, tmp_path / "llava", layout)
    back = import_model(there, tmp_path / "back")
    assert _bits(back) == _bits(folder)
    assert _small_files(back) == _small_files(folder)
    assert not list(back.glob(SIDE_FOLDER))
    loaded = load(back)
    assert (loaded.template, loaded.extra) == ("plain", {"stage": "finetune"})


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_foreign_folder_comes_back_bit_for_bit(
    layout: Layout, foreign: Callable[[Layout], Path], vision_tower_path: Path, tmp_path: Path
) -> None:
    theirs = foreign(layout)
    lacking = Lacking(vision_tower_path) if layout == "original" else None
    ours = import_model(theirs, tmp_path / "ours", lacking)
    again = export_model(ours, tmp_path / "again", layout)
    assert _bits(again) == _bits(theirs)
    loaded = load(ours)
    assert loaded.template == "vicuna_v1"
    assert (loaded.image_spec.size_px, loaded.image_spec.aspect) == (28, "pad")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_logits_are_equal(
    layout: Layout,
    folder: Path,
    foreign: Callable[[Layout], Path],
    vision_tower_path: Path,
    tmp_path: Path,
) -> None:
    """Also for a folder of others, whose new rows only the new tokens' logits depend on."""
    lacking = Lacking(vision_tower_path) if layout == "original" else None
    ours = import_model(foreign(layout), tmp_path / "ours", lacking)
    assert torch.equal(_logits(load(ours).model), _logits(load(folder).model))


def test_plain_transformers_reads_the_hub_layout(folder: Path, tmp_path: Path) -> None:
    path = export_model(folder, tmp_path / "hf", "llava-hf")
    model = LlavaForConditionalGeneration.from_pretrained(path, dtype=torch.float32).eval()
    assert torch.equal(_logits(model), _logits(load(folder).model))
    processor = LlavaProcessor.from_pretrained(path)
    ours = LlavaProcessor.from_pretrained(folder)
    assert processor.image_processor.to_dict() == ours.image_processor.to_dict()
    text = "<image> what is in the image ?"
    assert processor.tokenizer(text).input_ids == ours.tokenizer(text).input_ids


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
    assert _bits(again) == _bits(ours)
    assert load(again).tokenizer.get_vocab() == parts.tokenizer.get_vocab()
    other = import_model(theirs, tmp_path / "other", Lacking(vision_tower_path), seed=6)
    assert _bits(other) != _bits(ours)


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
    assert _bits(back) == _bits(ours)
    assert load(back).template == "plain"
    shutil.rmtree(there / SIDE_FOLDER)
    rebuilt = import_model(there, tmp_path / "rebuilt", base, template="plain", seed=5)
    assert _bits(rebuilt) == _bits(ours)
    with pytest.raises(ConfigError, match="--language-model"):
        import_model(there, tmp_path / "lacking", Lacking(vision_tower_path))


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
    assert _bits(tmp_path / "sharded") == _bits(folder)
    there = export_model(tmp_path / "sharded", tmp_path / "llava", "original")
    assert _bits(import_model(there, tmp_path / "back")) == _bits(folder)


def test_an_official_folder_needs_the_tower(
    foreign: Callable[[Layout], Path], vision_tower_path: Path, folder: Path, tmp_path: Path
) -> None:
    """Official shards hold no tower, but buffers that transformers computes itself today."""
    theirs = foreign("original")
    weights = load_file(theirs / "model.safetensors")
    weights = {name: each for name, each in weights.items() if not name.startswith(CLIP)}
    weights["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.zeros(6)
    _write(theirs, weights)
    with pytest.raises(CheckpointError, match="--vision-tower"):
        import_model(theirs, tmp_path / "none")
    ours = import_model(theirs, tmp_path / "ours", Lacking(vision_tower_path))
    tower = CLIPVisionModel.from_pretrained(vision_tower_path).state_dict()
    found = load(ours).model.model.vision_tower.state_dict()
    assert all(torch.equal(found[name], weight) for name, weight in tower.items())


def test_a_whole_clip_and_older_names_serve_as_tower(
    foreign: Callable[[Layout], Path], vision_tower_path: Path, tmp_path: Path
) -> None:
    theirs = foreign("original")
    weights = load_file(theirs / "model.safetensors")
    tower = {name: weights.pop(name) for name in list(weights) if name.startswith(CLIP)}
    _write(theirs, weights)
    older = {"vision_model." + name.removeprefix(CLIP): each for name, each in tower.items()}
    older |= {"text_model.final.weight": torch.ones(1), "logit_scale": torch.ones(())}
    older["vision_model.embeddings.position_ids"] = torch.arange(5)
    shutil.copytree(vision_tower_path, tmp_path / "clip")
    _write(tmp_path / "clip", older)
    ours = import_model(theirs, tmp_path / "ours", Lacking(tmp_path / "clip"))
    found = list_weights(ours)["vision_tower.embeddings.class_embedding"].read()
    assert torch.equal(found, tower[f"{CLIP}embeddings.class_embedding"])


def test_flat_names_of_some_releases_are_read(folder: Path, tmp_path: Path) -> None:
    """transformers 4.52 and later wrote the names in memory."""
    model = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.bfloat16)
    shutil.copytree(folder, tmp_path / "flat")
    _write(tmp_path / "flat", {name: each.clone() for name, each in model.state_dict().items()})
    there = export_model(tmp_path / "flat", tmp_path / "llava", "original")
    assert _bits(import_model(there, tmp_path / "back")) == _bits(folder)


def test_tied_rows_come_back(
    vision_tower_path: Path, language_model_path: Path, image_spec: ImageSpec, tmp_path: Path
) -> None:
    config = LlamaConfig.from_pretrained(language_model_path, tie_word_embeddings=True)
    AutoTokenizer.from_pretrained(language_model_path).save_pretrained(tmp_path / "language")
    LlamaForCausalLM(config).save_pretrained(tmp_path / "language")
    parts = build_llava(vision_tower_path, tmp_path / "language", seed=5)
    ours = save(parts.model, parts.tokenizer, tmp_path / "ours", image_spec, "vicuna_v1")
    for layout in LAYOUTS:
        theirs = export_model(ours, tmp_path / f"llava-{layout}", layout)
        assert _bits(import_model(theirs, tmp_path / f"back-{layout}")) == _bits(ours)
    shutil.rmtree(tmp_path / "llava-original" / SIDE_FOLDER)
    lacking = Lacking(vision_tower_path)
    again = import_model(tmp_path / "llava-original", tmp_path / "again", lacking, seed=5)
    assert _bits(again) == _bits(ours)


def test_rotary_positions_keep_their_kind(
    vision_tower_path: Path, language_model_path: Path, image_spec: ImageSpec, tmp_path: Path
) -> None:
    """Older readers find them in two fields of their own; the original's knows few kinds."""
    rope = {"rope_type": "yarn", "rope_theta": 500000.0, "factor": 4.0}
    scaled = {**rope, "original_max_position_embeddings": 512}
    config = LlamaConfig.from_pretrained(language_model_path, rope_parameters=scaled)
    AutoTokenizer.from_pretrained(language_model_path).save_pretrained(tmp_path / "language")
    LlamaForCausalLM(config).save_pretrained(tmp_path / "language")
    parts = build_llava(vision_tower_path, tmp_path / "language")
    ours = save(parts.model, parts.tokenizer, tmp_path / "ours", image_spec, "vicuna_v1")
    theirs = export_model(ours, tmp_path / "hf", "llava-hf")
    text = json.loads((theirs / "config.json").read_text())["text_config"]
    assert text["rope_theta"] == 500000.0
    assert text["rope_scaling"]["rope_type"] == "yarn"
    model = LlavaForConditionalGeneration.from_pretrained(theirs, dtype=torch.float32).eval()
    assert torch.equal(_logits(model), _logits(parts.model))
    with pytest.raises(CheckpointError, match="'yarn'"):
        export_model(ours, tmp_path / "llava", "original")


def test_siglip_has_a_place_in_the_hub_layout_only(
    language_model_path: Path, image_spec: ImageSpec, tmp_path: Path
) -> None:
    tower = SiglipVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        image_size=28,
        patch_size=14,
    )
    SiglipVisionModel(tower).save_pretrained(tmp_path / "tower")
    parts = build_llava(tmp_path / "tower", language_model_path, select="full")
    ours = save(parts.model, parts.tokenizer, tmp_path / "ours", image_spec, "vicuna_v1")
    theirs = export_model(ours, tmp_path / "hf", "llava-hf")
    assert "vision_tower.vision_model.post_layernorm.weight" in list_weights(theirs)
    assert _bits(import_model(theirs, tmp_path / "back")) == _bits(ours)
    with pytest.raises(CheckpointError, match="--layout llava-hf"):
        export_model(ours, tmp_path / "llava", "original")


def _broken(change: str) -> Callable[[dict[str, Tensor]], None]:
    def act(weights: dict[str, Tensor]) -> None:
        if change == "missing":
            del weights["model.norm.weight"]
        elif change == "extra":
            weights["model.layers.7.mlp.up_proj.weight"] = torch.zeros(2)
        elif change == "shape":
            weights["model.norm.weight"] = torch.zeros(23)
        elif change == "connector":
            weights["model.mm_projector.4.weight"] = torch.zeros(24, 24)

    return act


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
    _broken(change)(weights)
    _write(theirs, weights)
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
        ({"hidden_size": 12}, "the configuration says"),
        ({"mm_projector_type": None, "mm_vision_tower": None}, "mm_projector_type"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_configurations_that_are_no_llava15_are_refused(
    values: dict[str, object],
    text: str,
    foreign: Callable[[Layout], Path],
    vision_tower_path: Path,
    tmp_path: Path,
) -> None:
    theirs = foreign("original")
    config = json.loads((theirs / "config.json").read_text())
    config = {k: v for k, v in {**config, **values}.items() if v is not None}
    (theirs / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=text):
        import_model(theirs, tmp_path / "ours", Lacking(vision_tower_path))


def test_the_published_model_type_is_read_too(
    foreign: Callable[[Layout], Path], vision_tower_path: Path, tmp_path: Path
) -> None:
    theirs = foreign("original")
    config = json.loads((theirs / "config.json").read_text())
    (theirs / "config.json").write_text(json.dumps({**config, "model_type": "llava"}))
    load(import_model(theirs, tmp_path / "ours", Lacking(vision_tower_path)))


def test_other_connectors_are_not_exported(folder: Path, tmp_path: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "connector": "mlp3x_gelu"}))
    with pytest.raises(CheckpointError, match="mlp3x_gelu"):
        export_model(folder, tmp_path / "llava", "llava-hf")


def test_pickles_are_refused(foreign: Callable[[Layout], Path], tmp_path: Path) -> None:
    theirs = foreign("original")
    (theirs / "model.safetensors").rename(theirs / "pytorch_model-00001-of-00002.bin")
    with pytest.raises(CheckpointError, match="pickles"):
        import_model(theirs, tmp_path / "ours")
    theirs = foreign_connector(theirs)
    with pytest.raises(CheckpointError, match=r"mm_projector\.bin"):
        import_model(theirs, tmp_path / "ours")


def foreign_connector(theirs: Path) -> Path:
    """Leave what stage 1 of the original leaves."""
    next(theirs.glob("*.bin")).rename(theirs / "mm_projector.bin")
    return theirs


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


def test_a_template_that_contradicts_the_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    there = export_model(folder, tmp_path / "llava", "original")
    with pytest.raises(ConfigError, match="'plain'"):
        import_model(there, tmp_path / "ours", template="vicuna_v1")


def test_nothing_is_overwritten(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "llava").mkdir()
    export_model(folder, tmp_path / "llava", "original")
    before = _bits(tmp_path / "llava")
    with pytest.raises(ConfigError, match="not empty"):
        export_model(folder, tmp_path / "llava", "llava-hf")
    assert _bits(tmp_path / "llava") == before


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


def test_the_picture_settings_come_from_the_hub_folder(
    foreign: Callable[[Layout], Path], image_spec: ImageSpec, tmp_path: Path
) -> None:
    theirs = foreign("llava-hf")
    assert load(import_model(theirs, tmp_path / "padded")).image_spec == image_spec
    path = theirs / "preprocessor_config.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "do_pad": False}))
    assert load(import_model(theirs, tmp_path / "cut")).image_spec.aspect == "crop"
    path.write_text(json.dumps({**values, "crop_size": {"height": 14, "width": 14}}))
    with pytest.raises(CheckpointError, match="pictures of 14 px"):
        import_model(theirs, tmp_path / "other")


def _bits(folder: Path) -> dict[str, tuple[torch.dtype, list[int], bytes]]:
    """Every tensor's dtype, shape and bytes."""
    found = {}
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as opened:
            for key in opened.keys():  # noqa: SIM118 -- safe_open is no mapping
                tensor = opened.get_tensor(key)
                raw = tensor.reshape(-1).view(torch.uint8).numpy().tobytes()
                found[key] = (tensor.dtype, list(tensor.shape), raw)
    return found


def _small_files(folder: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes()
        for path in folder.iterdir()
        if path.is_file() and path.suffix != ".safetensors"
    }


def _logits(model: LlavaForConditionalGeneration) -> Tensor:
    """Logits of the base's tokens for a prompt with a picture."""
    image = model.config.image_token_id
    ids = torch.tensor([[1, 270, image, image, image, image, 271]])
    pixels = torch.linspace(-1, 1, 3 * 28 * 28).view(1, 3, 28, 28)
    with torch.inference_mode():
        return model(input_ids=ids, pixel_values=pixels).logits[..., :ROWS]


def _write(folder: Path, weights: dict[str, Tensor]) -> None:
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
