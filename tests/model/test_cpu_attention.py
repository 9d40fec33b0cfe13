"""Attention in bfloat16 on a CPU: its gradients are exact, its rounding is that of bfloat16."""

import pytest
import torch
from torch.nn import functional

from components.model.attention import _causal
from components.model.cpu_attention import _HalfAttention, half_attention


def states(rows: int, positions: int, dtype: torch.dtype) -> list[torch.Tensor]:
    """Queries, keys and values as the model has them: heads behind positions in memory."""
    generator = torch.Generator().manual_seed(3)
    return [
        torch.randn(rows, positions, 3, 8, generator=generator)
        .to(dtype)
        .transpose(1, 2)
        .requires_grad_()
        for _ in range(3)
    ]


@pytest.mark.parametrize("window", [None, 2])
def test_its_gradients_are_those_of_its_function(window: int | None) -> None:
    inputs = states(2, 5, torch.float64)
    mask = _causal(5, window, inputs[0])
    assert torch.autograd.gradcheck(lambda *s: _HalfAttention.apply(*s, 0.3, mask), inputs)


@pytest.mark.parametrize("window", [None, 7])
def test_it_equals_exact_attention_but_for_rounding(window: int | None) -> None:
    inputs = states(4, 50, torch.bfloat16)
    exact = [state.detach().double().requires_grad_() for state in inputs]
    mask = _causal(50, window, inputs[0])
    wanted = functional.scaled_dot_product_attention(*exact, attn_mask=mask.double(), scale=0.3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = half_attention(*inputs, 0.3, mask)
    assert found.dtype == torch.bfloat16
    weight = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(4))
    (found * weight).sum().backward()
    (wanted * weight).sum().backward()
    pairs = [(found, wanted), *((a.grad, b.grad) for a, b in zip(inputs, exact, strict=True))]
    for half, double in pairs:
        assert (half.double() - double).norm() < 0.01 * double.norm()  # 8 bits: 2 ** -8 each
