"""LoRA adapts the language model's linears alone, and merges without a trace."""

import copy
from pathlib import Path

import pytest
import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration

from components.core.errors import CheckpointError, ConfigError
from components.data.config import ImageSpec
from components.model.build import LlavaParts, build_llava
from components.model.checkpoint import load_checkpoint, save
from components.model.learning.freeze import count_parameters, freeze_for_stage
from components.model.learning.lora import add_lora, merge_lora
from components.model.learning.lora_settings import LoraSettings
from components.model.loss import LossModel
from tests.model.reference import check_loss_and_gradients, compute_loss, mixed_batch
from tests.model.tiny_parts import tokenizer_of, write_language_model

SETTINGS = LoraSettings(rank=4, alpha=8, dropout=0.0)


@pytest.fixture(scope="session")
def qwen_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Biases on q, k and v, embeddings tied to the output head."""
    return write_language_model("qwen2", tmp_path_factory.mktemp("qwen2"), tokenizer_of("qwen2"))


@pytest.fixture(params=["llama", "qwen2"])
def base(
    request: pytest.FixtureRequest,
    vision_tower_path: Path,
    language_model_path: Path,
    qwen_path: Path,
) -> LlavaParts:
    language = {"llama": language_model_path, "qwen2": qwen_path}[request.param]
    parts = build_llava(vision_tower_path, language, seed=3)
    freeze_for_stage(parts.model, ("connector", "language_model"))
    return parts


def train(parts: LlavaParts, image_spec: ImageSpec, num_steps: int = 5) -> list[float]:
    """Take AdamW steps on one batch; return the loss before each."""
    batch = mixed_batch(parts)
    model = LossModel(parts.model, image_spec)
    learns = [p for p in parts.model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learns, lr=1e-2)
    losses = []
    for _ in range(num_steps):
        optimizer.zero_grad()
        loss = compute_loss(model, batch).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def logits(model: LlavaForConditionalGeneration) -> Tensor:
    with torch.inference_mode():
        return model(input_ids=torch.arange(3, 60).view(3, 19)).logits


def test_only_linears_of_the_language_model_are_touched(base: LlavaParts) -> None:
    model = base.model
    linears = [n for n, m in model.model.language_model.named_modules() if type(m) is nn.Linear]
    names = add_lora(model, SETTINGS, seed=0)
    adapted = [name for name, module in model.named_modules() if isinstance(module, LoraLayer)]
    assert adapted == [f"model.language_model.{name}" for name in linears]
    assert len(linears) == 2 * 7
    learns = {name for name, p in model.named_parameters() if p.requires_grad}
    connector = {name for name in learns if "multi_modal_projector" in name}
    assert len(connector) == 4
    assert learns == {*names, *connector}
    assert len(names) == 2 * len(linears)
    assert all(name.startswith("model.language_model.layers.") for name in names)
    assert type(model) is LlavaForConditionalGeneration


def test_the_connector_stays_frozen_where_it_was(parts: LlavaParts) -> None:
    freeze_for_stage(parts.model, ("language_model",))
    names = add_lora(parts.model, SETTINGS, seed=0)
    assert {n for n, p in parts.model.named_parameters() if p.requires_grad} == set(names)
    sizes = {name: p.numel() for name, p in parts.model.named_parameters()}
    assert count_parameters(parts.model) == (sum(sizes[n] for n in names), sum(sizes.values()))


def test_the_first_logits_are_those_of_the_base(base: LlavaParts) -> None:
    before = logits(base.model)
    add_lora(base.model, SETTINGS, seed=0)
    assert torch.equal(logits(base.model), before)


def test_names_and_values_follow_from_the_seed(base: LlavaParts) -> None:
    runs = []
    for seed in (7, 7, 8):
        torch.rand(seed)
        model, before = copy.deepcopy(base.model), torch.get_rng_state()
        names = add_lora(model, SETTINGS, seed)
        assert torch.equal(before, torch.get_rng_state())
        values = dict(model.named_parameters())
        runs.append({name: values[name] for name in names})
    assert list(runs[0]) == list(runs[1]) == list(runs[2])
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])
    for name, value in runs[0].items():
        assert torch.equal(value, runs[2][name]) is ("lora_B" in name)
        assert value.any() or "lora_B" in name


def test_packed_loss_and_gradients_equal_one_sample_at_a_time(
    base: LlavaParts, image_spec: ImageSpec
) -> None:
    names = add_lora(base.model, SETTINGS, seed=0)
    train(base, image_spec, 2)
    gradients = check_loss_and_gradients(base, image_spec)
    connector = {name for name in gradients if "multi_modal_projector" in name}
    assert set(gradients) == {*names, *connector} and len(connector) == 4


def test_training_lowers_the_loss_and_moves_adapters_alone(
    base: LlavaParts, image_spec: ImageSpec
) -> None:
    freeze_for_stage(base.model, ("language_model",))
    names = add_lora(base.model, SETTINGS, seed=0)
    before = {name: p.detach().clone() for name, p in base.model.named_parameters()}
    losses = train(base, image_spec, 10)
    assert losses[-1] < 0.9 * losses[0]
    moved = {n for n, p in base.model.named_parameters() if not torch.equal(p, before[n])}
    assert moved == set(names)


def test_merged_logits_equal_those_with_adapters(
    base: LlavaParts, image_spec: ImageSpec, tmp_path: Path
) -> None:
    untouched = copy.deepcopy(base.model)
    add_lora(base.model, SETTINGS, seed=0)
    train(base, image_spec)
    base.model.eval()
    with_adapters = logits(base.model)
    merge_lora(base.model)
    distance = (logits(base.model) - with_adapters).norm() / with_adapters.norm()
    assert distance < 1e-6  # rounding of fp32 through two layers
    assert (with_adapters - logits(untouched)).norm() > 1e-2 * with_adapters.norm()
    assert list(base.model.state_dict()) == list(untouched.state_dict())
    assert type(base.model) is LlavaForConditionalGeneration
    assert [type(m) for m in base.model.modules()] == [type(m) for m in untouched.modules()]
    tied = base.model.config.tie_word_embeddings
    assert (base.model.lm_head.weight is base.model.get_input_embeddings().weight) is tied
    save(base.model, base.tokenizer, tmp_path, image_spec, "vicuna_v1")
    assert torch.equal(logits(load_checkpoint(tmp_path).model), logits(base.model))
    plain = LlavaForConditionalGeneration.from_pretrained(tmp_path, dtype=torch.float32)
    assert torch.equal(logits(plain), logits(base.model))


def test_dropout_is_off_while_parity_is_checked(parts: LlavaParts, image_spec: ImageSpec) -> None:
    freeze_for_stage(parts.model, ("language_model",))
    add_lora(parts.model, SETTINGS.with_(dropout=0.5), seed=0)
    train(parts, image_spec)
    parts.model.train()
    merge_lora(parts.model)
    assert parts.model.training


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_merging_rounded_weights_is_refused(dtype: torch.dtype, parts: LlavaParts) -> None:
    add_lora(parts.model, SETTINGS, seed=0)
    with pytest.raises(CheckpointError, match=r"is in torch\..*float16; LoRA merges in"):
        merge_lora(parts.model.to(dtype))


def test_a_merge_that_changes_the_model_is_refused(
    parts: LlavaParts, image_spec: ImageSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    freeze_for_stage(parts.model, ("language_model",))
    add_lora(parts.model, SETTINGS, seed=0)
    train(parts, image_spec)
    monkeypatch.setattr("peft.tuners.lora.layer.Linear.merge", lambda *_, **__: None)
    with pytest.raises(CheckpointError, match="away from those with adapters; expected at most"):
        merge_lora(parts.model)


def test_adapters_that_are_not_finite_are_refused(parts: LlavaParts) -> None:
    names = add_lora(parts.model, SETTINGS, seed=0)
    with torch.no_grad():
        dict(parts.model.named_parameters())[names[5]].fill_(float("nan"))
    with pytest.raises(CheckpointError, match=r"cannot be merged .* training diverged"):
        merge_lora(parts.model)


def test_merging_without_adapters_or_twice_is_refused(parts: LlavaParts) -> None:
    with pytest.raises(CheckpointError, match="no LoRA adapters to merge"):
        merge_lora(parts.model)
    add_lora(parts.model, SETTINGS, seed=0)
    merge_lora(parts.model)
    with pytest.raises(CheckpointError, match="merged already"):
        merge_lora(parts.model)


def test_adding_twice_is_refused_but_not_after_a_merge(parts: LlavaParts) -> None:
    names = add_lora(parts.model, SETTINGS, seed=0)
    with pytest.raises(ConfigError, match="adapters already"):
        add_lora(parts.model, SETTINGS, seed=0)
    merge_lora(parts.model)
    assert add_lora(parts.model, SETTINGS, seed=0) == names


def test_a_model_with_adapters_is_not_saved_as_an_ordinary_one(
    parts: LlavaParts, image_spec: ImageSpec, tmp_path: Path
) -> None:
    add_lora(parts.model, SETTINGS, seed=0)
    with pytest.raises(CheckpointError, match="merge_lora before saving"):
        save(parts.model, parts.tokenizer, tmp_path, image_spec, "plain")
    assert not any(tmp_path.iterdir())


def test_a_language_model_without_linears_is_refused(parts: LlavaParts) -> None:
    parts.model.model.language_model = nn.Embedding(4, 4)
    with pytest.raises(ConfigError, match=r"Embedding has no nn\.Linear layers"):
        add_lora(parts.model, SETTINGS, seed=0)


def test_defaults_are_those_of_the_original_script() -> None:
    assert LoraSettings().canonical() == {"rank": 128, "alpha": 256, "dropout": 0.05}


@pytest.mark.parametrize("values", [{"rank": 0}, {"alpha": -1}, {"dropout": 1.0}])
def test_settings_out_of_range_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        LoraSettings().with_(**values)
