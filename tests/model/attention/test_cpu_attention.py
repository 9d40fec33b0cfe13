"""Attention in bfloat16 on a CPU: its gradients are exact, its rounding is that of bfloat16."""

from itertools import pairwise

import pytest
import torch
from torch.nn import functional

from components.model.attention.cpu_attention import Grid, _HalfAttention, half_attention, lay_grid
from components.model.attention.packed import _causal

HEADS = 4


def grids(
    groups: list[list[int]], key_heads: int, window: int | None, dtype: torch.dtype
) -> list[Grid]:
    """Groups of rows, given by their lengths; each grid three positions longer than its rows."""
    first, laid = 0, []
    for lengths in groups:
        starts = [first + sum(lengths[:row]) for row in range(len(lengths) + 1)]
        longest = max(lengths) + 3
        mask = _causal(longest, window, torch.empty(0, dtype=dtype))
        laid.append(lay_grid(starts, longest, HEADS, key_heads, mask))
        first = starts[-1]
    return laid


def states(tokens: int, key_heads: int, dtype: torch.dtype) -> list[torch.Tensor]:
    """Queries, keys and values as the model has them: heads before positions in memory."""
    generator = torch.Generator().manual_seed(3)
    return [
        torch.randn(heads, tokens, 8, generator=generator)
        .to(dtype)
        .transpose(0, 1)
        .requires_grad_()
        for heads in (HEADS, key_heads, key_heads)
    ]


@pytest.mark.parametrize("key_heads", [HEADS, 2, 1])
@pytest.mark.parametrize("window", [None, 2])
def test_its_gradients_are_those_of_its_function(window: int | None, key_heads: int) -> None:
    laid = grids([[2, 3], [1]], key_heads, window, torch.float64)
    inputs = states(6, key_heads, torch.float64)
    assert torch.autograd.gradcheck(lambda *s: _HalfAttention.apply(*s, laid, 0.3), inputs)


@pytest.mark.parametrize("key_heads", [HEADS, 2])
@pytest.mark.parametrize("window", [None, 7])
def test_it_equals_exact_attention_but_for_rounding(window: int | None, key_heads: int) -> None:
    groups = [[40, 50, 45], [9], [20, 21]]
    inputs = states(185, key_heads, torch.bfloat16)
    exact = [state.detach().double().requires_grad_() for state in inputs]
    edges = torch.tensor([0, *(length for lengths in groups for length in lengths)]).cumsum(0)
    wanted = torch.cat(
        [
            functional.scaled_dot_product_attention(
                *(state[start:end].transpose(0, 1) for state in exact),
                attn_mask=_causal(end - start, window, exact[0]),
                scale=0.3,
                enable_gqa=True,
            ).transpose(0, 1)
            for start, end in pairwise(edges.tolist())
        ]
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = half_attention(*inputs, grids(groups, key_heads, window, torch.bfloat16), 0.3)
    assert found.dtype == torch.bfloat16
    weight = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(4))
    (found * weight).sum().backward()
    (wanted * weight).sum().backward()
    pairs = [(found, wanted), *((a.grad, b.grad) for a, b in zip(inputs, exact, strict=True))]
    for half, double in pairs:
        assert (half.double() - double).norm() < 0.01 * double.norm()  # 8 bits: 2 ** -8 each
