"""Norms in one kernel give what transformers' own give, forward and backward."""

import copy

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.models.auto import CONFIG_MAPPING

from components.model.attention import norms
from components.model.attention.cpu_attention import half_positions
from components.model.attention.norms import fuse_norms
from components.model.attention.packed import PACKABLE
from tests.model.attention.test_packed import SIZES


def language_model(kind):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[kind](**SIZES)).model
    for name, parameter in model.named_parameters():
        if "norm" in name:  # ones would hide a weight that is left out
            torch.nn.init.normal_(parameter, mean=1.0)
    return model


@pytest.mark.parametrize("kind", PACKABLE)
def test_a_model_gives_the_same_with_norms_of_one_kernel(monkeypatch, kind):
    plain = language_model(kind)
    fused = copy.deepcopy(plain)
    # Two a layer and one behind them; Qwen3 has two more in each layer's attention.
    assert fuse_norms(fused) == (9 if kind == "qwen3" else 5)
    calls = []

    def kernel(states, weight, epsilon):
        calls.append(tuple(states.shape))
        return torch.nn.functional.rms_norm(states, weight.shape, weight, epsilon)

    monkeypatch.setattr(norms, "_kernel_applies", lambda *_: True)
    monkeypatch.setattr(norms, "one_kernel", kernel)
    ids = torch.arange(1, 13).unsqueeze(0)
    results = [model(input_ids=ids).last_hidden_state for model in (plain, fused)]
    torch.testing.assert_close(results[1], results[0], rtol=1e-5, atol=1e-6)
    assert len(calls) == (9 if kind == "qwen3" else 5)
    for result in results:
        result.square().sum().backward()
    others = dict(fused.named_parameters())
    for name, parameter in plain.named_parameters():
        torch.testing.assert_close(others[name].grad, parameter.grad, rtol=1e-4, atol=1e-5)


def test_on_a_cpu_they_stay_those_of_transformers():
    plain = language_model("llama").to(torch.bfloat16)
    fused = copy.deepcopy(plain)
    fuse_norms(fused)
    again = copy.deepcopy(fused)  # a copy's norms must use the copy's weights
    with torch.no_grad():
        again.norm.weight.zero_()
    ids = torch.arange(1, 13).unsqueeze(0)
    expected = plain(input_ids=ids).last_hidden_state
    assert torch.equal(fused(input_ids=ids).last_hidden_state, expected)
    assert not again(input_ids=ids).last_hidden_state.any()
    assert fused.state_dict().keys() == plain.state_dict().keys()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_kernel_equals_the_exact_norm_on_this_gpu():
    norm = language_model("llama").norm.to("cuda", torch.bfloat16)
    states = torch.randn((64, 32), device="cuda", dtype=torch.bfloat16)
    exact = copy.deepcopy(norm).float()(states.float())
    fuse_norms(norm)
    assert norms._kernel_applies(states, norm.weight)
    # bf16 keeps 8 bits.
    torch.testing.assert_close(norm(states).float(), exact, rtol=2**-7, atol=2**-7)


def test_under_autocast_on_a_cpu_products_get_half_precision():
    plain = language_model("llama")
    fused = copy.deepcopy(plain)
    fuse_norms(fused)
    ids = torch.arange(1, 13).unsqueeze(0)
    exact = plain(input_ids=ids).last_hidden_state
    half_positions(fused)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = fused(input_ids=ids).last_hidden_state
    assert found.dtype == torch.bfloat16
    assert (found.float() - exact).norm() < 0.02 * exact.norm()
