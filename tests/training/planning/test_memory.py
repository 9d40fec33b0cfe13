"""Memory of a stage: the published accounts of ZeRO, the design's figures for activations."""

import pytest

from components.model.sizes.shapes import LlavaShapes
from components.training.planning.memory import (
    GIB,
    OVERHEAD,
    activation_bytes,
    block_bytes,
    estimate,
    layer_bytes,
)
from tests.training.full_size import FROZEN, LAYERS, LEARNING, D, F, finetune, pretrain


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


def test_logits_of_supervised_tokens_alone(shapes: LlavaShapes) -> None:
    # 16 samples of 214 text tokens behind 576 patches, 32,064 rows, 12 bytes each
    assert estimate(shapes, finetune(), 8, 790).logits == 16 * 214 * 32_064 * 12


def test_packs_bound_the_tokens(shapes: LlavaShapes) -> None:
    assert estimate(shapes, finetune(), 8, 790).micro_tokens == 16 * 790
    assert estimate(shapes, finetune(pack_tokens=4096), 8, 790).micro_tokens == 4096
