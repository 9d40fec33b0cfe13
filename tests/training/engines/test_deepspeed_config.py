"""The DeepSpeed settings: complete, and consistent with the stage."""

import pytest

from components.core.errors import ConfigError
from components.training.engines.deepspeed_config import deepspeed_config, plan_batches
from tests.training.tiny import stage


@pytest.mark.parametrize("num_workers", [1, 2, 4, 8])
def test_the_global_batch_is_the_same_at_every_world_size(num_workers):
    plan = plan_batches(stage(global_batch=32, micro_batch=4), num_workers)
    assert plan.micro_batch * plan.accumulation * num_workers == plan.global_batch == 32
    assert plan.micro_batch <= 4


def test_a_batch_that_cannot_be_shared_is_refused_with_what_can():
    with pytest.raises(ConfigError, match=r"global_batch=32 .* 3 workers; choose a multiple of 3"):
        plan_batches(stage(global_batch=32), 3)
    with pytest.raises(ConfigError, match=r"micro_batch=5 .*16 samples.*choose one of 1, 2, 4, 8"):
        plan_batches(stage(global_batch=32, micro_batch=5), 2)


@pytest.mark.parametrize("zero_stage", [1, 2, 3])
@pytest.mark.parametrize("clipping", [0.0, 1.0])
def test_clipping_batches_and_precision_are_always_written(zero_stage, clipping):
    config = stage(zero_stage=zero_stage, gradient_clipping=clipping, precision="bf16")
    written = deepspeed_config(config, 2, num_trainable=3_000_000)
    assert written["gradient_clipping"] == clipping
    assert written["train_batch_size"] == 8
    assert written["train_micro_batch_size_per_gpu"] * written["gradient_accumulation_steps"] == 4
    assert written["zero_optimization"]["stage"] == zero_stage
    assert written["zero_optimization"]["reduce_bucket_size"] == 3_000_000
    # A CPU computes under autocast with exact fp32 weights; only a GPU holds bf16 weights.
    assert written["bf16"] == {"enabled": False}
    on_gpu = deepspeed_config(config.with_(num_gpus_per_worker=1), 2)
    assert on_gpu["bf16"] == {"enabled": True}
    assert "'auto'" not in str(written) + str(on_gpu)
