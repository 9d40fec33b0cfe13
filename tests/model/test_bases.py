"""Every kind of language model and tower that a LLaVA may be built of."""

import json
from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoProcessor,
    CLIPConfig,
    CLIPModel,
    LlavaForConditionalGeneration,
    SiglipConfig,
    SiglipModel,
)

from components.core.errors import CheckpointError, ConfigError
from components.data.config import ImageSpec
from components.data.conversation import render
from components.data.records import Turn
from components.data.tokens import encode
from components.model.build import LlavaParts, build_llava, patches_per_image
from components.model.checkpoint import load_checkpoint, save
from components.model.embed import image_embeddings, normalise_pixels
from components.model.generation.greedy import embed_distinct, generate_greedy
from components.model.learning.freeze import PARTS, freeze_for_stage
from components.model.tower import read_tower
from tests.model.reference import check_loss_and_gradients
from tests.model.tiny_parts import (
    IMAGE_PX,
    LANGUAGE_MODELS,
    TOWERS,
    tokenizer_of,
    write_language_model,
    write_tower,
)

SELECT = {"clip": "default", "siglip": "full"}


@pytest.fixture(scope="session")
def base_paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder per kind of part."""
    root = tmp_path_factory.mktemp("bases")
    paths = {kind: write_tower(kind, root / kind) for kind in TOWERS}
    for kind in LANGUAGE_MODELS:
        paths[kind] = write_language_model(kind, root / kind, tokenizer_of(kind))
    return paths


def build(base_paths: dict[str, Path], language: str, tower: str, **changes: str) -> LlavaParts:
    values = {"select": SELECT[tower], **changes}
    return build_llava(base_paths[tower], base_paths[language], seed=3, **values)


every_base = pytest.mark.parametrize(
    ("language", "tower"),
    [
        *[(language, "clip") for language in LANGUAGE_MODELS],
        ("llama", "siglip"),
        ("qwen2", "siglip"),
    ],
)


@every_base
def test_loss_and_gradients_equal_one_sample_at_a_time(
    base_paths: dict[str, Path], language: str, tower: str, image_spec: ImageSpec
) -> None:
    parts = build(base_paths, language, tower)
    freeze_for_stage(parts.model, PARTS)
    check_loss_and_gradients(parts, image_spec)


@every_base
def test_a_folder_loads_here_and_in_plain_transformers(
    base_paths: dict[str, Path], language: str, tower: str, image_spec: ImageSpec, tmp_path: Path
) -> None:
    parts = build(base_paths, language, tower)
    save(parts.model, parts.tokenizer, tmp_path, image_spec, "vicuna_v1")
    loaded = load_checkpoint(tmp_path)
    before, after = parts.model.state_dict(), loaded.model.state_dict()
    assert list(before) == list(after) and all(torch.equal(before[k], after[k]) for k in before)
    plain = LlavaForConditionalGeneration.from_pretrained(tmp_path, dtype=torch.float32)
    ids = torch.tensor([[40, 41, *[parts.image_token_id] * 4, 42]])
    pixels = normalise_pixels(
        torch.full((1, 3, IMAGE_PX, IMAGE_PX), 90, dtype=torch.uint8), image_spec, torch.float32
    )
    with torch.inference_mode():
        logits = [
            model(input_ids=ids, pixel_values=pixels).logits
            for model in (parts.model, loaded.model, plain)
        ]
    assert torch.equal(logits[0], logits[1]) and torch.equal(logits[0], logits[2])
    image = torch.full((3, IMAGE_PX, IMAGE_PX), 90, dtype=torch.uint8)
    prompts = [[40, parts.image_token_id, 41], [44, 45]]
    assert len(generate_greedy(loaded, prompts, embed_distinct(loaded, [image, None]), 3)) == 2


@pytest.mark.parametrize("language", LANGUAGE_MODELS)
def test_new_tokens_have_rows_and_old_rows_keep_their_values(
    base_paths: dict[str, Path], language: str
) -> None:
    parts = build(base_paths, language, "clip")
    base = AutoModelForCausalLM.from_pretrained(base_paths[language])
    rows, old = parts.model.get_input_embeddings().weight, base.get_input_embeddings().weight
    assert torch.equal(rows[: len(old)], old)
    assert len(rows) % 64 == 0 and len(rows) > max(
        parts.image_token_id, int(parts.tokenizer.pad_token_id)
    )
    assert parts.tokenizer.pad_token_id != parts.image_token_id
    assert parts.tokenizer.eos_token_id == tokenizer_of(language).eos_token_id
    if language.startswith("qwen"):
        assert len(rows) == len(old)  # there was room, so the table is not made anew
    tied = language == "qwen2"
    assert (parts.model.lm_head.weight is rows) is tied


def test_tied_embeddings_stay_one_tensor_through_a_folder(
    base_paths: dict[str, Path], image_spec: ImageSpec, tmp_path: Path
) -> None:
    parts = build(base_paths, "qwen2", "clip", connector="resampler3")
    save(parts.model, parts.tokenizer, tmp_path, image_spec, "plain")
    model = load_checkpoint(tmp_path).model
    assert model.lm_head.weight is model.get_input_embeddings().weight
    state = {key: value.clone() for key, value in parts.model.state_dict().items()}
    save(parts.model, parts.tokenizer, tmp_path / "gathered", image_spec, "plain", state_dict=state)
    model = load_checkpoint(tmp_path / "gathered").model
    assert model.lm_head.weight is model.get_input_embeddings().weight
    assert torch.equal(model.lm_head.weight, parts.model.lm_head.weight)


@pytest.mark.parametrize("language", ["llama", "qwen2"])
def test_the_chat_template_says_what_we_train(
    base_paths: dict[str, Path], language: str, image_spec: ImageSpec, tmp_path: Path
) -> None:
    """Another server's template gives our ids: with the tokenizer's own end, without a begin."""
    parts = build(base_paths, language, "clip")
    save(parts.model, parts.tokenizer, tmp_path, image_spec, "vicuna_v1")
    turns = [Turn("human", "what ?"), Turn("gpt", "a dog"), Turn("human", "red ?")]
    ours = encode(
        render([*turns, Turn("gpt", "yes")]), parts.tokenizer, parts.image_token_id
    ).input_ids
    roles = {"human": "user", "gpt": "assistant"}
    messages = [
        {"role": roles[turn.role], "content": turn.text} for turn in [*turns, Turn("gpt", "yes")]
    ]
    text = AutoProcessor.from_pretrained(tmp_path).apply_chat_template(messages)
    end = parts.tokenizer.eos_token
    assert text.count(end) == ours.count(parts.tokenizer.eos_token_id) == 2
    assert parts.tokenizer.decode(ours).replace("<s>", "").split() == text.split()


@pytest.mark.parametrize("layer", [-1, -2, 1, [-2, -1]], ids=str)
@pytest.mark.parametrize("tower", TOWERS)
def test_features_of_a_layer_equal_transformers(
    base_paths: dict[str, Path], tower: str, layer: int | list[int], image_spec: ImageSpec
) -> None:
    parts = build(base_paths, "llama", tower)
    if isinstance(layer, list):
        parts.model.model.multi_modal_projector = torch.nn.Linear(32, 24)
    parts.model.config.vision_feature_layer = layer
    pixels = torch.randint(0, 256, (2, 3, IMAGE_PX, IMAGE_PX), dtype=torch.uint8)
    theirs = parts.model.get_image_features(
        pixel_values=normalise_pixels(pixels, image_spec, torch.float32)
    )
    ours = image_embeddings(parts.model, pixels, image_spec)
    torch.testing.assert_close(ours, torch.stack(theirs.pooler_output), atol=1e-5, rtol=1e-5)


def test_siglip_has_no_class_token_to_drop(base_paths: dict[str, Path]) -> None:
    shape = read_tower(base_paths["siglip"])
    assert shape.patches_per_image("full") == 4
    assert patches_per_image(build(base_paths, "llama", "siglip").model.config) == 4
    for refuse in (
        lambda: shape.patches_per_image("default"),
        lambda: build(base_paths, "llama", "siglip", select="default"),
    ):
        with pytest.raises(ConfigError, match=r"siglip has none \(SigLIP\); set base.select=full"):
            refuse()


def test_the_class_token_of_clip_may_be_kept(base_paths: dict[str, Path]) -> None:
    shape = read_tower(base_paths["clip"])
    assert (shape.patches_per_image("default"), shape.patches_per_image("full")) == (4, 5)
    assert shape.patches_per_image("full", "resampler3") == 3


@pytest.mark.parametrize("kind", TOWERS)
def test_a_whole_two_tower_folder_gives_its_vision_half(
    kind: str, base_paths: dict[str, Path], tmp_path: Path
) -> None:
    """As the Hub has them: CLIPModel or SiglipModel, text half included."""
    config_class, model_class = {
        "clip": (CLIPConfig, CLIPModel),
        "siglip": (SiglipConfig, SiglipModel),
    }[kind]
    text = {
        "vocab_size": 99,
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    vision = json.loads((base_paths[kind] / "config.json").read_text())
    model = model_class(config_class(text_config=text, vision_config=vision))
    model.save_pretrained(tmp_path)
    assert read_tower(tmp_path).patches_per_image("full") == 4 + (kind == "clip")
    parts = build({**base_paths, kind: tmp_path}, "llama", kind)
    ours, theirs = parts.model.model.vision_tower.state_dict(), model.vision_model.state_dict()
    assert list(ours) == list(theirs) and all(torch.equal(ours[k], theirs[k]) for k in ours)


@pytest.mark.parametrize("config", [CLIPConfig(), SiglipConfig()], ids=TOWERS)
def test_sizes_that_a_configuration_leaves_out_are_those_of_transformers(
    config: CLIPConfig | SiglipConfig, tmp_path: Path
) -> None:
    vision = config.vision_config
    values = {"model_type": config.model_type, "vision_config": {"model_type": vision.model_type}}
    (tmp_path / "config.json").write_text(json.dumps(values))
    shape = read_tower(tmp_path)
    assert (shape.image_px, shape.patch_px) == (vision.image_size, vision.patch_size)


def test_what_is_no_tower_is_refused(tmp_path: Path) -> None:
    for text in ("{}", '{"model_type": "llama"}', "[]", "{"):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(CheckpointError, match="not the configuration of a vision tower"):
            read_tower(tmp_path)


def test_a_tokenizer_without_an_end_is_refused(base_paths: dict[str, Path], tmp_path: Path) -> None:
    tokenizer = tokenizer_of("llama")
    tokenizer.eos_token = None
    write_language_model("llama", tmp_path, tokenizer)
    with pytest.raises(CheckpointError, match="no end token"):
        build({**base_paths, "llama": tmp_path}, "llama", "clip")


def test_an_unknown_selection_is_refused(base_paths: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match=r"choose base\.select from default, full"):
        build(base_paths, "llama", "clip", select="patch")


def test_siglip_counts_its_patches_in_the_processor(
    base_paths: dict[str, Path], image_spec: ImageSpec, tmp_path: Path
) -> None:
    parts = build(base_paths, "qwen2", "siglip")
    save(parts.model, parts.tokenizer, tmp_path, image_spec, "vicuna_v1")
    processor = AutoProcessor.from_pretrained(tmp_path)
    image = torch.zeros((3, IMAGE_PX, IMAGE_PX), dtype=torch.uint8)
    ids = processor(text="<image>\nwhat ?", images=image)["input_ids"][0]
    assert list(ids).count(parts.image_token_id) == 4
