"""Memory of a stage: the published accounts of ZeRO, what autograd really keeps, and advice."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from components.core.errors import ConfigError
from components.model.shapes import LlavaShapes, read_shapes
from components.training.config import StageConfig
from components.training.memory import (
    GIB,
    OVERHEAD,
    activation_bytes,
    block_bytes,
    estimate,
    layer_bytes,
    tower_layer_bytes,
)
from components.training.memory_fit import check_fits, largest_micro_batch
from tests.model.real_bases import CLIP_L

# 7B: width 4096, 32 layers, feed-forward 11,008. 21 M of connector and 6,739 M of language model
# learn in stage 2; the frozen tower has 303.5 M.
D, F, LAYERS = 4096, 11_008, 32
LEARNING, FROZEN = 20_979_712 + 6_738_939_904, 303_507_456


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> LlavaShapes:
    """LLaVA-1.5 7B; a Llama's defaults are its sizes."""
    root = tmp_path_factory.mktemp("sizes")
    (root / "language").mkdir()
    (root / "language" / "config.json").write_text('{"model_type": "llama"}')
    return _sizes(root)


def pretrain(**changes: Any) -> StageConfig:
    """Stage 1 on 8 GPUs."""
    values: dict[str, Any] = {
        "name": "pretrain",
        "train": ("connector",),
        "template": "plain",
        "learning_rate": 1e-3,
        "global_batch": 256,
        "micro_batch": 32,
        "zero_stage": 2,
        "num_workers": 8,
        "num_gpus_per_worker": 1,
    }
    return StageConfig(**{**values, **changes})


def finetune(**changes: Any) -> StageConfig:
    """Stage 2 on 8 GPUs."""
    values: dict[str, Any] = {
        "name": "finetune",
        "train": ("connector", "language_model"),
        "template": "vicuna_v1",
        "learning_rate": 2e-5,
        "global_batch": 128,
        "micro_batch": 16,
        "zero_stage": 3,
        "num_workers": 8,
        "num_gpus_per_worker": 1,
    }
    return StageConfig(**{**values, **changes})


@pytest.mark.parametrize(
    ("zero_stage", "expected"),
    [
        # GiB of 2 P + 14 P / N, and of 16 P / N
        (2, {1: 100.7, 2: 56.7, 4: 34.6, 8: 23.6}),
        (3, {1: 100.7, 2: 50.4, 4: 25.2, 8: 12.6}),
    ],
)
def test_states_are_those_of_the_published_formulas(
    zero_stage: int, expected: dict[int, float], shapes: LlavaShapes
) -> None:
    for workers, gibibytes in expected.items():
        found = estimate(shapes, finetune(zero_stage=zero_stage), workers, 790)
        frozen = 2 * FROZEN / (workers if zero_stage == 3 else 1)
        states = found.weights + found.gradients + found.optimizer - frozen
        assert states / GIB == pytest.approx(gibibytes, rel=0.003), workers


def test_zero_1_keeps_whole_gradients(shapes: LlavaShapes) -> None:
    first, second = (estimate(shapes, finetune(zero_stage=z), 8, 790) for z in (1, 2))
    assert first.gradients == 2 * LEARNING
    assert second.gradients == round(2 * LEARNING / 8)
    assert first.optimizer == second.optimizer == round(12 * LEARNING / 8)


def test_frozen_weights_have_nothing_but_themselves(shapes: LlavaShapes) -> None:
    found = estimate(shapes, pretrain(), 8, 610)
    assert found.weights == 2 * (LEARNING + FROZEN)
    # The connector's 21 M in bf16 gradients and 12 bytes of state, over 8 workers
    assert found.gradients == pytest.approx(2 * 20_979_712 / 8, abs=1)
    assert found.optimizer == pytest.approx(12 * 20_979_712 / 8, abs=1)
    split = estimate(shapes, pretrain(zero_stage=3), 8, 610)
    assert split.weights == pytest.approx(2 * (LEARNING + FROZEN) / 8, abs=1)
    # ZeRO-3 starts from a whole copy of the weights, then cuts it.
    assert split.start == pytest.approx(2 * (LEARNING + FROZEN) * 9 / 8, abs=1)


def test_fp32_doubles_weights_and_gradients_not_the_state(shapes: LlavaShapes) -> None:
    half, full = (estimate(shapes, finetune(precision=p), 8, 790) for p in ("bf16", "fp32"))
    assert full.weights == pytest.approx(2 * half.weights, abs=2)
    assert full.gradients == pytest.approx(2 * half.gradients, abs=2)
    assert full.optimizer == half.optimizer


def test_the_step_counts_where_it_needs_more_than_a_micro_batch(shapes: LlavaShapes) -> None:
    # On one GPU fp32 gradients and a temporary are 8 x 6.76 GB = 50.4 GiB, at a time when bf16
    # gradients (12.6) and activations are gone: weights 13.2, state 75.5, buckets, 3.0 around.
    config = finetune(zero_stage=2, micro_batch=1, activation_checkpointing=True)
    found = estimate(shapes, config, 1, 790)
    assert found.step == 8 * LEARNING
    buckets = 2 * (2 * 50_000_000 + 32_064 * D)
    assert found.total == 2 * (LEARNING + FROZEN) + 20 * LEARNING + buckets + OVERHEAD
    # ZeRO-3 steps over at most a billion elements at a time.
    split = estimate(shapes, config.with_(zero_stage=3), 1, 790)
    assert split.step == 8 * 1_000_000_000 + 2 * LEARNING


def test_activations_against_the_figures_for_fused_layers(shapes: LlavaShapes) -> None:
    # The figures of the design: 67 GiB in stage 1 and 58 in stage 2 take 12 D + 6 F and 16 D + 8 F
    # a token and layer: norms that keep bf16 inputs (4 D), queries, keys, values and output (8 D).
    frozen, learning = 12 * D + 6 * F, 16 * D + 8 * F
    assert LAYERS * frozen * 32 * 610 / GIB == pytest.approx(67, rel=0.03)
    assert LAYERS * learning * 16 * 790 / GIB == pytest.approx(58, rel=0.03)
    assert layer_bytes(shapes.language, 2, learns=False) == frozen
    assert layer_bytes(shapes.language, 2, learns=True) == learning
    for config, tokens, fused, block in (
        (pretrain(), 32 * 610, frozen, 6 * F),
        (finetune(), 16 * 790, learning, 2 * F + 4 * D),
    ):
        layers = LAYERS * tokens * fused
        # Embeddings twice, the last norm; the connector
        ends = tokens * (4 * D + 2 * D)
        joint = 16 * 2 * 576 * (1024 + 3 * D)
        assert activation_bytes(shapes, config, tokens, 16) == layers + ends + joint
        assert block_bytes(shapes, config, tokens) == tokens * block


def test_checkpointing_keeps_the_layers_inputs_and_one_layer(shapes: LlavaShapes) -> None:
    for config, tokens, gibibytes in (
        (pretrain(activation_checkpointing=True), 32 * 610, 4.8),  # "about 5"
        (finetune(activation_checkpointing=True), 16 * 790, 3.1),  # "about 3, and 2 for a layer"
    ):
        inputs = LAYERS * 2 * D * tokens
        assert inputs / GIB == pytest.approx(gibibytes, rel=0.02)
        layer = tokens * layer_bytes(shapes.language, 2, "language_model" in config.train)
        plain = config.with_(activation_checkpointing=False)
        kept, plainly_kept = (activation_bytes(shapes, c, tokens, 16) for c in (config, plain))
        assert plainly_kept - kept == LAYERS * layer - inputs
        block, plain_block = (block_bytes(shapes, c, tokens) for c in (config, plain))
        assert block - plain_block == layer


@pytest.mark.parametrize("precision", ["bfloat16", "float32"])
@pytest.mark.parametrize("learns", [True, False], ids=["learning", "frozen"])
@pytest.mark.parametrize("kind", ["llama", "grouped", "qwen3"])
def test_a_layer_keeps_what_autograd_saves(
    kind: str, learns: bool, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where this fails after a change of model or attention, `layer_bytes` is to be told.
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config, Qwen3ForCausalLM

    from components.model import attention
    from components.model.norms import fuse_norms
    from tests.training.live_bytes import Saved, use_kernels_of_a_gpu

    if precision == "bfloat16":
        use_kernels_of_a_gpu(monkeypatch)
    values: dict[str, Any] = {
        "vocab_size": 64,
        "hidden_size": 128,
        "intermediate_size": 352,
        "num_attention_heads": 4,
        "num_key_value_heads": 2 if kind == "grouped" else 4,
    }
    config_class, model_class = LlamaConfig, LlamaForCausalLM
    if kind == "qwen3":
        config_class, model_class, values["head_dim"] = Qwen3Config, Qwen3ForCausalLM, 32
    lengths = [250, 230, 260, 241]
    sizes = []
    for num_layers in (2, 3):
        config = config_class(**values, num_hidden_layers=num_layers)
        model = model_class(config).to(getattr(torch, precision)).train().requires_grad_(learns)
        assert attention.attend_packed(model.model)
        fuse_norms(model.model)
        rows = attention.packed_rows(lengths)
        tokens = sum(lengths) + rows.num_filler
        embedded = torch.randn(1, tokens, 128, dtype=model.dtype, requires_grad=True)
        with Saved(model) as saved:
            model.model(
                inputs_embeds=embedded,
                attention_mask=attention.NO_MASK,
                position_ids=rows.positions.unsqueeze(0),
                use_cache=False,
                packed_rows=rows,
            )
        sizes.append(saved.bytes() / tokens)
    config.save_pretrained(tmp_path / "language")
    language = _sizes(tmp_path).language
    found = layer_bytes(language, 2 if precision == "bfloat16" else 4, learns)
    # In fp32 these rows are padded by 8 percent where a tenth is taken; a few bytes of row
    # statistics are left out.
    assert sizes[1] - sizes[0] == pytest.approx(found, rel=0.02)


@pytest.mark.parametrize("num_rows", [128, 4096], ids=["few words", "many words"])
@pytest.mark.parametrize("recomputes", [False, True], ids=["keeps", "recomputes"])
@pytest.mark.parametrize("stage", [pretrain, finetune])
def test_a_step_needs_the_memory_that_is_told(
    stage: Callable[..., StageConfig],
    recomputes: bool,
    num_rows: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The real loss of a real model in bf16, forward and backward: the peak of all that is alive.
    import torch
    from transformers import LlavaForConditionalGeneration

    from components.data.config import ImageSpec
    from components.model.freeze import freeze_for_stage
    from components.model.loss import LossModel
    from components.model.shapes import read_llava_shapes
    from tests.training.live_bytes import Peak, use_kernels_of_a_gpu

    use_kernels_of_a_gpu(monkeypatch)
    settings = stage(activation_checkpointing=recomputes, micro_batch=16)
    llava = _small_llava(num_rows)
    llava.save_pretrained(tmp_path)
    model = LlavaForConditionalGeneration(llava).to(torch.bfloat16)
    freeze_for_stage(model, settings.train)
    if recomputes:
        model.gradient_checkpointing_enable()
    model.train()
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter) if parameter.requires_grad else None
    lengths = [84 + 4 * row for row in range(16)]
    batch = _batch(lengths, image_token=num_rows - 1)
    with Peak(model) as peak:
        loss = LossModel(model, ImageSpec(size_px=112, aspect="pad"))(**batch).loss
        peak.restart()
        loss.backward()
    found = estimate(read_llava_shapes(tmp_path), settings, 8, sum(lengths) / 16)
    told = found.activations + max(found.block, found.logits)
    # With few layers, gradients are told to be alive with parts of a layer that are gone by then.
    most = 1.25 if recomputes else 1.02
    assert 0.99 * peak.bytes <= told <= most * peak.bytes


def test_a_learning_tower_keeps_what_autograd_saves(shapes: LlavaShapes) -> None:
    import torch
    from transformers import CLIPVisionConfig, CLIPVisionModel

    from tests.training.live_bytes import Saved

    sizes = []
    for num_layers in (2, 3):
        config = CLIPVisionConfig(
            hidden_size=128,
            intermediate_size=352,
            num_hidden_layers=num_layers,
            num_attention_heads=4,
            image_size=56,
            patch_size=14,
        )
        model = CLIPVisionModel(config).to(torch.bfloat16).train()
        with Saved(model) as saved:
            model(torch.randn(2, 3, 56, 56, dtype=torch.bfloat16))
        sizes.append(saved.bytes() / (2 * 17))
    # 8 x 2 x 128 and 3 x 2 x 352; at CLIP-L 8 x 2 x 1024 and 3 x 2 x 4096
    assert sizes[1] - sizes[0] == pytest.approx(2048 + 2112, rel=0.02)
    assert tower_layer_bytes(shapes.vision, 2) == 16_384 + 24_576
    frozen = activation_bytes(shapes, pretrain(), 1000, 2)
    seeing = activation_bytes(shapes, pretrain(train=("connector", "vision_tower")), 1000, 2)
    assert seeing - frozen == 2 * 577 * 23 * (16_384 + 24_576)


def test_logits_of_supervised_tokens_alone(shapes: LlavaShapes) -> None:
    # 16 samples of 214 text tokens behind 576 patches, 32,064 rows, 12 bytes each
    assert estimate(shapes, finetune(), 8, 790).logits == 16 * 214 * 32_064 * 12


def test_packs_bound_the_tokens(shapes: LlavaShapes) -> None:
    assert estimate(shapes, finetune(), 8, 790).micro_tokens == 16 * 790
    assert estimate(shapes, finetune(pack_tokens=4096), 8, 790).micro_tokens == 4096


def test_largest_micro_batch(shapes: LlavaShapes) -> None:
    # Without checkpointing a sample of 610 tokens keeps 32 x (16 D + 6 F) x 610 = 2.4 GiB, so 32
    # of them need 77 GiB beside 13 of weights, and 16 of them 38.
    assert largest_micro_batch(shapes, pretrain(), 8, 80 * GIB, 610) == 16
    assert largest_micro_batch(shapes, pretrain(), 8, 141 * GIB, 610) == 32
    recomputes = pretrain(activation_checkpointing=True)
    assert largest_micro_batch(shapes, recomputes, 8, 80 * GIB, 610) == 32  # all of its share
    assert largest_micro_batch(shapes, pretrain(), 8, 16 * GIB, 610) == 0  # the weights alone
    for size, fits in ((16, True), (32, False)):
        total = estimate(shapes, pretrain(micro_batch=size), 8, 610).total
        assert (total <= 80 * GIB) is fits
    with pytest.raises(ConfigError, match="cannot be shared evenly by 7 workers"):
        largest_micro_batch(shapes, pretrain(), 7, 80 * GIB, 610)


def test_what_fits_is_returned_and_cpu_workers_are_let_alone(shapes: LlavaShapes) -> None:
    config = finetune(activation_checkpointing=True)
    found = check_fits(shapes, config, 8, 80 * GIB, 790)
    assert found == estimate(shapes, config, 8, 790)
    on_cpu = finetune(num_gpus_per_worker=0)
    assert check_fits(shapes, on_cpu, 8, 1, 790) is None
    with pytest.raises(ConfigError, match=r"there are 20\.0 GiB"):
        check_fits(shapes, finetune(num_gpus_per_worker=0.25), 8, 80 * GIB, 790)


@pytest.mark.parametrize(
    ("changes", "gpu_gib", "fields"),
    [
        ({}, 76, ["micro_batch", "activation_checkpointing", "num_workers"]),
        ({"pack_tokens": 16_384}, 80, ["pack_tokens", "activation_checkpointing"]),
        # ZeRO-2 keeps 13.2 GiB of weights: no micro-batch fits at all without splitting them.
        (
            {"zero_stage": 2, "activation_checkpointing": True},
            23,
            ["zero_stage", "micro_batch", "num_workers"],
        ),
        ({"num_workers": 1, "activation_checkpointing": True}, 80, ["num_workers"]),
        # Without splitting the weights no number of workers is enough.
        (
            {"num_workers": 1, "zero_stage": 1},
            32,
            ["activation_checkpointing", "zero_stage", "micro_batch", "num_workers"],
        ),
    ],
    ids=["activations", "packs", "weights", "states", "all at once"],
)
def test_all_advice_is_enough_and_the_cheapest_comes_first(
    changes: dict[str, Any], gpu_gib: int, fields: list[str], shapes: LlavaShapes
) -> None:
    config = finetune(**changes)
    with pytest.raises(ConfigError, match="does not fit into its GPUs") as caught:
        check_fits(shapes, config, config.num_workers, gpu_gib * GIB, 790)
    text = str(caught.value)
    assert "weights" in text and "activations" in text
    advice = text.splitlines()[-1]
    assert [name for name in re.findall(r"finetune\.(\w+)=", advice) if name != "lora"] == fields
    for option in advice.removeprefix("set ").split("; or "):
        if ".lora=" in option:
            continue  # see below
        found = dict(re.findall(r"finetune\.(\w+)=(\w+)", option))
        news = {name: json.loads(value) for name, value in found.items()}
        workers = news.pop("num_workers", config.num_workers)
        share = config.global_batch // workers
        changed = config.with_(**{"micro_batch": min(config.micro_batch, share), **news})
        assert check_fits(shapes, changed, workers, gpu_gib * GIB, 790) is not None, option
        told = re.search(r"\(([\d.]+) GiB", option)
        assert told is not None
        total = estimate(shapes, changed, workers, 790).total / GIB
        assert float(told[1]) == pytest.approx(total, abs=0.06)


def test_what_nothing_helps_is_said(shapes: LlavaShapes) -> None:
    # ZeRO-3 first holds all 13.2 GiB of weights on one GPU, whatever the number of workers.
    with pytest.raises(ConfigError, match="nothing in the stage's settings makes it fit"):
        check_fits(shapes, finetune(), 8, 12 * GIB, 790)


def test_a_lora_is_advised_where_it_is_enough(shapes: LlavaShapes) -> None:
    config = finetune(num_workers=1, activation_checkpointing=True)
    with pytest.raises(ConfigError) as caught:
        check_fits(shapes, config, 1, 80 * GIB, 790)
    assert 'finetune.lora={"rank": 128}' in str(caught.value)
    adapted = config.with_(lora={"rank": 128})
    found = check_fits(shapes, adapted, 1, 80 * GIB, 790)
    # Rank 128 on seven linears: 32 x 128 x (4 x 8192 + 3 x 15,104) parameters learn.
    adapters = LAYERS * 128 * (4 * 2 * D + 3 * (D + F))
    assert found is not None
    assert found.optimizer == 12 * (adapters + 20_979_712)
    assert found.weights == 2 * (LEARNING + FROZEN + adapters)
    with pytest.raises(ConfigError) as caught:  # the weights alone are 13.8 GiB
        check_fits(shapes, config, 1, 14 * GIB, 790)
    assert "lora" not in str(caught.value)
    # What drops out in each of the seven linears, its mask, and the thin products
    kept = layer_bytes(shapes.language, 2, learns=False, rank=128)
    assert kept - layer_bytes(shapes.language, 2, learns=False) == 3 * (6 * D + F) + 14 * 128


def _sizes(root: Path) -> LlavaShapes:
    """Sizes of the language model in a folder below, under CLIP-L/14-336."""
    (root / "tower").mkdir()
    (root / "tower" / "config.json").write_text(json.dumps(CLIP_L))
    return read_shapes(root / "tower", root / "language")


def _small_llava(num_rows: int) -> Any:
    """Four layers of width 256 behind 64 patches."""
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig

    tower = CLIPVisionConfig(
        hidden_size=64,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=112,
        patch_size=14,
    )
    language = LlamaConfig(
        vocab_size=num_rows,
        hidden_size=256,
        intermediate_size=688,
        num_hidden_layers=4,
        num_attention_heads=4,
    )
    return LlavaConfig(vision_config=tower, text_config=language, image_token_index=num_rows - 1)


def _batch(lengths: list[int], image_token: int) -> dict[str, Any]:
    """Rows of these lengths, a picture of 64 patches in front, all of the text supervised."""
    import torch

    ids = torch.full((len(lengths), max(lengths)), 5)
    ids[:, :64] = image_token
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
    for row, length in enumerate(lengths):
        mask[row, :length] = 1
        labels[row, 64:length] = 7
    pixels = torch.zeros((len(lengths), 3, 112, 112), dtype=torch.uint8)
    return {"input_ids": ids, "labels": labels, "attention_mask": mask, "pixels": pixels}
