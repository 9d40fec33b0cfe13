"""A CPU without instructions for bfloat16 multiplies in fp32."""

import pytest
import torch

from components.training.engines.precision import autocasts
from tests.training.tiny import stage


@pytest.mark.parametrize(
    ("settings", "capabilities", "expected"),
    [
        ({"precision": "bf16"}, {"amx_bf16": True, "avx512_bf16": True}, True),
        ({"precision": "bf16"}, {"avx512_bf16": True}, True),
        ({"precision": "bf16"}, {"avx512_f": True, "avx512_bf16": False}, False),
        ({"precision": "bf16"}, {"architecture": "aarch64"}, False),
        ({"precision": "fp32"}, {"amx_bf16": True}, False),
        ({"precision": "bf16", "num_gpus_per_worker": 1}, {"amx_bf16": True}, False),
    ],
)
def test_products_are_in_half_precision_only_where_that_is_fast(
    settings, capabilities, expected, monkeypatch
):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert autocasts(stage(**settings)) is expected


def test_a_stage_trains_in_fp32_there(materials, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    config = stage(precision="bf16")
    opened = materials.open_model(config)
    opened.set_up(config)
    module = opened.summed_loss(config)
    batch = next(materials.open_batches(opened, config, 0, 1).batches())
    loss, _ = module(batch)
    exact, _ = opened.summed_loss(stage(precision="fp32"))(batch)
    assert torch.equal(loss, exact)
    assert {parameter.dtype for parameter in module.parameters()} == {torch.float32}
