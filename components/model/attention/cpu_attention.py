"""Attention of packed rows in bfloat16 on a CPU, in as few passes as torch's products allow.

In: queries, keys and values of tokens laid end to end, and where each row lies. Out: what attending
row by row gives, and its gradients. Torch's fused kernel is slow there, its backward pass most of
all, and operations left to autocast copy every score to fp32 and back, forth and backwards. The
tokens are gathered once into padded grids, heads before positions, as the products want them.
Measured on two cores with AMX, a pack of 4,928 tokens in five groups of rows, 6 heads of 32,
forward and backward: 25 ms; padded and transposed in steps of their own 29; torch's fused kernel
48, its padding not counted; the products alone 7.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

# Shapes: T tokens, H heads, K heads of keys and values, D head width, N = rows * H, S positions


@dataclass(frozen=True)
class Grid:
    """A group of rows padded to one length, and which state of the pack lies where in it.

    States are numbered as they lie: token by token, head by head.
    """

    first: int
    """Token at which the group begins."""
    last: int
    """Token behind its end."""
    longest: int
    mask: Tensor
    """Added to the scores, [S, S], bfloat16."""
    queries: Tensor
    """For each place [N * S] the query there; in the padding some query of the group."""
    keys: Tensor
    """The same of keys and values, which fewer heads may have."""
    padding: Tensor
    """The places of padding."""
    places: Tensor
    """For each token and head [T' * H] its place, T' tokens of the group."""


def lay_grid(
    starts: Sequence[int], longest: int, heads: int, key_heads: int, mask_SS: Tensor
) -> Grid:
    """Return the grid of neighbouring rows; `starts` tells where each begins, the last one's end.

    `heads` is a multiple of `key_heads`.
    """
    edges, positions = torch.tensor(starts), torch.arange(longest)
    lengths = edges.diff()
    in_padding = positions >= lengths.unsqueeze(1)
    token = edges[:-1].unsqueeze(1) + torch.minimum(positions, lengths.unsqueeze(1) - 1)
    token, head = token.unsqueeze(1), torch.arange(heads).unsqueeze(1)
    row_T = torch.arange(len(lengths)).repeat_interleave(lengths)
    position_T = torch.arange(starts[0], starts[-1]) - edges[:-1][row_T]
    places = (row_T.unsqueeze(1) * heads + torch.arange(heads)) * longest + position_T.unsqueeze(1)
    return Grid(
        first=starts[0],
        last=starts[-1],
        longest=longest,
        mask=mask_SS,
        queries=(token * heads + head).flatten(),
        keys=(token * key_heads + head // (heads // key_heads)).flatten(),
        padding=in_padding.unsqueeze(1).expand(-1, heads, -1).flatten().nonzero().squeeze(1),
        places=places.flatten(),
    )


def half_attention(
    query_THD: Tensor, key_TKD: Tensor, value_TKD: Tensor, grids: Sequence[Grid], scale: float
) -> Tensor:
    """Return softmax(scale * query key^T + mask) value of each row, [T, H, D], in bfloat16.

    Scores and weights are bfloat16 too; within softmax torch adds up in fp32. The mask is added and
    gets no gradient; it must hide the padding behind a row from the row.
    """
    with torch.autocast("cpu", enabled=False):
        states = (state.to(torch.bfloat16) for state in (query_THD, key_TKD, value_TKD))
        output: Tensor = _HalfAttention.apply(*states, grids, scale)
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
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, grids: Sequence[Grid], scale: float
    ) -> Tensor:
        states = [state.flatten(0, 1) for state in (query, key, value)]
        output = torch.empty_like(states[0])
        kept: list[Tensor] = []
        for grid in grids:
            indices = (grid.queries, grid.keys, grid.keys)
            query_NSD, key_NSD, value_NSD = (
                state.index_select(0, index).view(-1, grid.longest, state.shape[1])
                for state, index in zip(states, indices, strict=True)
            )
            scores_NSS = torch.baddbmm(grid.mask, query_NSD, key_NSD.transpose(1, 2), alpha=scale)
            weights_NSS = torch.softmax(scores_NSS, dim=-1)
            _take_back(torch.bmm(weights_NSS, value_NSD), grid, query.shape[1], output)
            kept += [query_NSD, key_NSD, value_NSD, weights_NSS]
        ctx.save_for_backward(*kept)
        ctx.grids, ctx.scale, ctx.key_heads = grids, scale, key.shape[1]
        return output.view(query.shape)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        heads, kept = grad.shape[1], iter(ctx.saved_tensors)
        states = grad.reshape(-1, grad.shape[2])
        to_query, to_key, to_value = (torch.empty_like(states) for _ in range(3))
        for grid in ctx.grids:
            query_NSD, key_NSD, value_NSD, weights_NSS = (next(kept) for _ in range(4))
            # Nothing comes back from the padding, so nothing goes on from it.
            grad_NSD = states.index_select(0, grid.queries).index_fill_(0, grid.padding, 0.0)
            grad_NSD = grad_NSD.view(query_NSD.shape)
            _take_back(torch.bmm(weights_NSS.transpose(1, 2), grad_NSD), grid, heads, to_value)
            to_weights_NSS = torch.bmm(grad_NSD, value_NSD.transpose(1, 2))
            to_scores_NSS = torch._softmax_backward_data(
                to_weights_NSS, weights_NSS, -1, weights_NSS.dtype
            )
            _take_back(torch.bmm(to_scores_NSS, key_NSD), grid, heads, to_query)
            _take_back(torch.bmm(to_scores_NSS.transpose(1, 2), query_NSD), grid, heads, to_key)
        to_query.mul_(ctx.scale)
        to_key.mul_(ctx.scale)
        shared = (
            state.view(len(grad), ctx.key_heads, -1, grad.shape[2]).sum(2)
            if ctx.key_heads != heads
            else state.view(grad.shape)
            for state in (to_key, to_value)
        )
        return to_query.view(grad.shape), *shared, None, None


def _take_back(grid_NSD: Tensor, grid: Grid, heads: int, states: Tensor) -> None:
    """Write the states of a grid where they lie in the pack, [T * H, D]."""
    tokens = states[grid.first * heads : grid.last * heads]
    torch.index_select(grid_NSD.view(-1, grid_NSD.shape[2]), 0, grid.places, out=tokens)
