"""bf16 weights learn as fp32 ones do that are given the same gradients."""

import pytest
import torch

from components.training.engines.engine import (
    SummedLoss,
    optimizer_for,
    set_learning_rate,
)
from components.training.loop import train_step
from tests.training.master_weights import MasterWeights
from tests.training.plain import Alone, PlainEngine
from tests.training.tiny import stage

RATE = 1e-2
CLIPPING = 0.5
"""Below the norms of these steps, so that clipping has a part in them."""


@pytest.fixture
def config():
    return stage(weight_decay=0.1, connector_learning_rate=2e-2, gradient_clipping=CLIPPING)


def opened(materials, config, dtype=torch.float32):
    """The stage's model and its module with the loss."""
    found = materials.open_model(config)
    found.set_up(config)
    found.model.to(dtype).train()
    return found, SummedLoss(found.loss_module())


def batches_of(materials, found, config):
    return materials.open_batches(found, config, 0, 1).batches()


def learning(module):
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


def fused_adamw(module, config):
    optimizer = optimizer_for(module, config)
    for group in optimizer.param_groups:
        group["fused"] = True
    return optimizer


def test_fp32_weights_take_the_steps_of_torch_bit_for_bit(materials, config):
    results = []
    for wrap in (MasterWeights, lambda optimizer: optimizer):
        found, module = opened(materials, config)
        engine = PlainEngine(module, wrap(fused_adamw(module, config)), CLIPPING)
        batches = batches_of(materials, found, config)
        outcomes = [
            train_step(engine, lambda: next(batches), RATE, 3, Alone())  # noqa: B023 -- called at once
            for _ in range(3)
        ]
        assert all(outcome.grad_norm > CLIPPING for outcome in outcomes)
        results.append((outcomes, learning(module)))
    assert results[0][0] == results[1][0]
    for ours, plain in zip(results[0][1], results[1][1], strict=True):
        assert torch.equal(ours, plain)


def test_masters_of_bf16_weights_follow_fp32_weights_with_the_same_gradients(materials, config):
    found, module = opened(materials, config, torch.bfloat16)
    weights = learning(module)
    # The reference: the same groups over fp32 copies, stepped by torch one parameter at a time.
    reference = optimizer_for(module, config)
    copies = {id(weight): torch.nn.Parameter(weight.detach().float()) for weight in weights}
    for group in reference.param_groups:
        group["params"] = [copies[id(weight)] for weight in group["params"]]
        group["foreach"] = False
    masters = MasterWeights(optimizer_for(module, config))
    engine = PlainEngine(module, masters, CLIPPING)
    batches = batches_of(materials, found, config)
    for _ in range(4):
        for piece in next(batches).micro_batches(3):
            engine.accumulate(piece, 1e-2, False)
        for weight in weights:
            copies[id(weight)].grad = weight.grad.clone()
        norm = engine.apply(RATE)
        expected = torch.nn.utils.clip_grad_norm_(copies.values(), CLIPPING)
        set_learning_rate(reference, RATE)
        reference.step()
        assert norm == pytest.approx(expected.item(), rel=1e-6)
    held = [master for group in masters.param_groups for master in group["params"]]
    wanted = [copy for group in reference.param_groups for copy in group["params"]]
    for master, copy in zip(held, wanted, strict=True):
        assert master.dtype == torch.float32
        # The fused step adds the same terms in another order.
        torch.testing.assert_close(master, copy, rtol=1e-5, atol=1e-7)
    in_order = [w for group in optimizer_for(module, config).param_groups for w in group["params"]]
    for weight, master in zip(in_order, held, strict=True):
        assert torch.equal(weight, master.to(torch.bfloat16))


def test_gradients_of_micro_batches_are_summed_in_fp32(materials, config):
    found, module = opened(materials, config, torch.bfloat16)
    weights = learning(module)
    sums = [torch.zeros_like(weight, dtype=torch.float32) for weight in weights]
    pieces = list(next(batches_of(materials, found, config)).micro_batches(2))
    for piece in pieces:
        loss, _ = module(piece)
        for total, part in zip(sums, torch.autograd.grad(loss, weights), strict=True):
            assert part.dtype == torch.bfloat16
            total += part
    engine = PlainEngine(module, MasterWeights(optimizer_for(module, config)), CLIPPING)
    places = [weight.grad.data_ptr() for weight in weights]
    for piece in pieces:
        engine.accumulate(piece, 1.0, False)
    for weight, total in zip(weights, sums, strict=True):
        assert torch.equal(weight.grad, total)
    engine.apply(RATE)
    assert [weight.grad.data_ptr() for weight in weights] == places
    assert not any(weight.grad.any() for weight in weights)
