"""Attention in bfloat16 on a CPU, in four matrix products of torch and as few passes as they allow.

In: queries, keys and values of padded rows. Out: what attending gives, and its gradients. Torch's
fused kernel is slow there, its backward pass most of all, and operations left to autocast copy
every score to fp32 and back, forth and backwards. Measured on two cores with AMX, one of them used,
bfloat16, forward and backward, 15 rows of 176 positions, 6 heads of 32: 12 ms; under autocast 31;
torch's fused kernel 46.
"""

from typing import Any

import torch
from torch import Tensor, nn

# Shapes: B rows, H heads, S positions, D head width, N = B * H


def half_attention(
    query_BHSD: Tensor, key_BHSD: Tensor, value_BHSD: Tensor, scale: float, mask_SS: Tensor
) -> Tensor:
    """Return softmax(scale * query key^T + mask) value, [B, H, S, D], in bfloat16.

    Scores and weights are bfloat16 too; within softmax torch adds up in fp32. The mask is added and
    gets no gradient.
    """
    with torch.autocast("cpu", enabled=False):
        states = (state.to(torch.bfloat16) for state in (query_BHSD, key_BHSD, value_BHSD))
        output: Tensor = _HalfAttention.apply(*states, scale, mask_SS.to(torch.bfloat16))
    return output


def half_positions(model: nn.Module) -> None:
    """Let rotary positions be bfloat16, as they are where the model's weights are.

    Under autocast the states between layers are fp32, and so would be the positions: queries and
    keys would be turned in fp32, only to be rounded for the products behind.
    """
    for module in model.modules():
        if type(module).__name__.endswith("RotaryEmbedding"):
            module.register_forward_hook(_rounded)


def _rounded(_module: nn.Module, _inputs: Any, turns: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
    return tuple(turn.to(torch.bfloat16) for turn in turns)


class _HalfAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, scale: float, mask_SS: Tensor
    ) -> Tensor:
        query_NSD, key_NSD, value_NSD = (state.flatten(0, 1) for state in (query, key, value))
        scores_NSS = torch.baddbmm(mask_SS, query_NSD, key_NSD.transpose(1, 2), alpha=scale)
        weights_NSS = torch.softmax(scores_NSS, dim=-1)
        ctx.save_for_backward(query_NSD, key_NSD, value_NSD, weights_NSS)
        ctx.scale = scale
        return torch.bmm(weights_NSS, value_NSD).view(query.shape)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query_NSD, key_NSD, value_NSD, weights_NSS = ctx.saved_tensors
        grad_NSD = grad.flatten(0, 1)
        to_value_NSD = torch.bmm(weights_NSS.transpose(1, 2), grad_NSD)
        to_weights_NSS = torch.bmm(grad_NSD, value_NSD.transpose(1, 2))
        to_scores_NSS = torch._softmax_backward_data(
            to_weights_NSS, weights_NSS, -1, weights_NSS.dtype
        )
        to_query_NSD = torch.bmm(to_scores_NSS, key_NSD).mul_(ctx.scale)
        to_key_NSD = torch.bmm(to_scores_NSS.transpose(1, 2), query_NSD).mul_(ctx.scale)
        grads = (part.view(grad.shape) for part in (to_query_NSD, to_key_NSD, to_value_NSD))
        return (*grads, None, None)
