"""What fits into a GPU is let through; for what does not, the advice is enough."""

import json
import re
from typing import Any

import pytest

from components.core.errors import ConfigError
from components.data.shards import read_prepared
from components.model.sizes.shapes import LlavaShapes
from components.training.materials import Materials
from components.training.planning.memory import GIB, estimate, layer_bytes
from components.training.planning.memory_fit import Stage, check_fits, fit
from tests.training.full_size import FROZEN, LAYERS, LEARNING, D, F, finetune, pretrain


def test_largest_micro_batch(shapes: LlavaShapes) -> None:
    # Without checkpointing a sample of 610 tokens keeps 32 x (16 D + 6 F) x 610 = 2.4 GiB, so 32
    # of them need 77 GiB beside 13 of weights, and 16 of them 38.
    assert Stage(shapes, pretrain(), 8, 610).largest_micro_batch(80 * GIB) == 16
    assert Stage(shapes, pretrain(), 8, 610).largest_micro_batch(141 * GIB) == 32
    recomputes = pretrain(activation_checkpointing=True)
    assert Stage(shapes, recomputes, 8, 610).largest_micro_batch(80 * GIB) == 32  # all of its share
    assert Stage(shapes, pretrain(), 8, 610).largest_micro_batch(16 * GIB) == 0  # the weights alone
    for size, fits in ((16, True), (32, False)):
        total = estimate(shapes, pretrain(micro_batch=size), 8, 610).total
        assert (total <= 80 * GIB) is fits
    with pytest.raises(ConfigError, match="cannot be shared evenly by 7 workers"):
        Stage(shapes, pretrain(), 7, 610).largest_micro_batch(80 * GIB)


def test_a_micro_batch_that_does_not_fit_is_lowered(shapes: LlavaShapes) -> None:
    config = pretrain()
    assert fit(shapes, config, 8, 141 * GIB, 610) == config
    assert fit(shapes, config, 8, 80 * GIB, 610) == config.with_(micro_batch=16)  # see above
    with pytest.raises(ConfigError, match="does not fit into its GPUs"):
        fit(shapes, config, 8, 16 * GIB, 610)
    packed = pretrain(pack_tokens=32 * 610)
    with pytest.raises(ConfigError, match=r"set pretrain\.pack_tokens="):
        fit(shapes, packed, 8, 80 * GIB, 610)
    on_cpu = pretrain(num_gpus_per_worker=0)
    assert fit(shapes, on_cpu, 8, 1, 610) == on_cpu


def test_a_stage_is_fitted_to_its_own_data_and_model(materials: Materials) -> None:
    config = finetune(global_batch=8, micro_batch=8, num_workers=1)
    shapes, prepared = materials.shapes(), read_prepared(materials.data_path)
    assert shapes is not None
    rows = prepared.num_rows + prepared.num_validation
    tokens, images = prepared.num_tokens / rows, prepared.num_images / rows
    half = config.with_(micro_batch=4)
    enough = estimate(shapes, half, 1, tokens, images_per_sample=images).total
    assert materials.fit_memory(config, 1, enough) == half


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
