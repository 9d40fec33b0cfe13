"""Attention for rows without padding: matrix products see real tokens only, attention sees rows.

In: a batch's rows laid end to end, [1, T, D], and where each row lies. Out: the same as attending
row by row. For the attention itself, a few percent of the work, rows of like length are padded
together; under the causal mask padding on the right of a row is never attended to, so no key mask
is needed. On a GPU torch's kernel for rows of any lengths takes them as they lie, without padding.
Models of transformers call it unchanged, by its registered name.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from components.model.attention.cpu_attention import Grid, half_attention, lay_grid
from components.model.transfer import sent

log = logging.getLogger(__name__)

PACKED = "lavaflow_packed"
"""Name of the attention in transformers' registry."""
PACKABLE = ("llama", "mistral", "qwen2", "qwen3", "phi3")
"""Kinds of language model whose attention is the plain scaled product, seen to give equal losses
packed and padded."""

_LIKE = 0.8
"""Rows whose lengths differ by no more than this factor are padded together."""
_TOKENS_MULTIPLE = 64
_LENGTH_MULTIPLE = 16
"""Sizes are rounded up to these. On a CPU oneDNN compiles and keeps a kernel for each new shape:
after 40 steps of the tiny finetune stage a worker had grown to 1.96 GB, with these to 1.5 GB."""

# Shapes: B rows, S positions of the longest row, T tokens of all rows, H heads, D head width


NO_MASK = torch.zeros((1, 1, 1, 1))
"""To be given as attention mask with packed rows: transformers passes a mask of four dimensions on
as it is, where it would build one of [T, T] itself."""


@dataclass(frozen=True, eq=False)
class PackedRows:
    """Where the rows of a pack lie: groups of rows of like length, one behind the other."""

    groups: tuple["RowGroup", ...]
    positions: Tensor
    """Position of each token within its row, [T], those of the filler included."""
    num_filler: int
    """Tokens of nothing to be put behind the rows, so that the shapes of products recur."""
    starts: Tensor
    """Where each row begins, and where the last one ends, int32 [B + 1]; the filler is a row."""
    longest: int


@dataclass(frozen=True)
class RowGroup:
    """Rows that are padded to one length for the attention."""

    num_tokens: int
    num_rows: int
    longest: int
    places: Tensor | None
    """Place of each token in the padded grid of rows, below `num_rows * longest`; None where the
    rows fill it."""


def packed_rows(lengths: Sequence[int], device: torch.device | str = "cpu") -> PackedRows:
    """Read the rows from their lengths, in the order in which they are laid end to end.

    Neighbours of like length share a group, so rows sorted by length make few groups.
    """
    num_filler = -sum(lengths) % _TOKENS_MULTIPLE
    runs = _runs_of_like_length(lengths) + ([[num_filler]] if num_filler else [])
    positions = torch.cat([torch.arange(length) for run in runs for length in run])
    groups = tuple(_group(run, device) for run in runs)
    in_order = [length for run in runs for length in run]
    starts = sent(torch.tensor([0, *accumulate(in_order)], dtype=torch.int32), device)
    return PackedRows(groups, sent(positions, device), num_filler, starts, max(in_order))


def attend_packed(model: PreTrainedModel) -> bool:
    """Let a language model attend packed rows; returns whether its kind can.

    Called without `packed_rows` it attends as before, by torch's fused kernel.
    """
    if model.config.model_type not in PACKABLE:
        return False
    model.set_attn_implementation(PACKED)
    return True


def packed_attention(
    module: nn.Module,
    query_1HTD: Tensor,
    key_1HTD: Tensor,
    value_1HTD: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    packed_rows: PackedRows | None = None,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Return the attention's output [1, T, H, D], the signature that transformers calls.

    Without `packed_rows` it is transformers' own attention.
    """
    if packed_rows is None:
        return sdpa_attention_forward(
            module,
            query_1HTD,
            key_1HTD,
            value_1HTD,
            attention_mask,
            dropout,
            scaling,
            sliding_window=sliding_window,
            **others,
        )
    if _varlen_applies(query_1HTD, key_1HTD, value_1HTD, dropout):
        query_THD, key_TKD, value_TKD = (
            state[0].transpose(0, 1) for state in (query_1HTD, key_1HTD, value_1HTD)
        )
        output_THD = varlen_rows(
            query_THD, key_TKD, value_TKD, packed_rows, scaling, sliding_window
        )
        return output_THD.unsqueeze(0), None
    if not dropout and _in_bfloat16_on_cpu(query_1HTD):
        query_THD, key_TKD, value_TKD = (
            state[0].transpose(0, 1) for state in (query_1HTD, key_1HTD, value_1HTD)
        )
        grids = _grids(packed_rows, query_THD.shape[1], key_TKD.shape[1], sliding_window)
        scale = scaling if scaling is not None else query_THD.shape[-1] ** -0.5
        return half_attention(query_THD, key_TKD, value_TKD, grids, scale).unsqueeze(0), None
    groups = query_1HTD.shape[1] // key_1HTD.shape[1]
    states = [query_1HTD, repeat_kv(key_1HTD, groups), repeat_kv(value_1HTD, groups)]
    sizes = [rows.num_tokens for rows in packed_rows.groups]
    outputs = []
    for rows, *parts in zip(
        packed_rows.groups, *(state.split(sizes, dim=2) for state in states), strict=True
    ):
        query_BHSD, key_BHSD, value_BHSD = (_pad(part, rows) for part in parts)
        window = sliding_window if sliding_window and sliding_window < rows.longest else None
        output_BHSD = functional.scaled_dot_product_attention(
            query_BHSD,
            key_BHSD,
            value_BHSD,
            attn_mask=_causal(rows.longest, window, query_BHSD) if window else None,
            dropout_p=dropout,
            is_causal=window is None,
            scale=scaling,
        )
        outputs.append(_unpad(output_BHSD, rows))
    return torch.cat(outputs).unsqueeze(0), None


def varlen_rows(
    query_THD: Tensor,
    key_TKD: Tensor,
    value_TKD: Tensor,
    rows: PackedRows,
    scaling: float | None,
    sliding_window: int | None,
) -> Tensor:
    """Return the rows' attention [T, H, D] by torch's kernel for rows of any lengths (GPU)."""
    from torch.nn.attention.varlen import varlen_attn

    # A window of w tokens is the token itself and w - 1 before it.
    left = sliding_window - 1 if sliding_window else -1
    # Named only where it says something: torch 2.11 has the kernel but not this option.
    grouped = {"enable_gqa": True} if query_THD.shape[1] != key_TKD.shape[1] else {}
    output: Tensor = varlen_attn(
        query_THD,
        key_TKD,
        value_TKD,
        rows.starts,
        rows.starts,
        rows.longest,
        rows.longest,
        scale=scaling,
        window_size=(left, 0),
        **grouped,
    )
    return output


def _varlen_applies(query: Tensor, key: Tensor, value: Tensor, dropout: float) -> bool:
    kinds = {query.dtype, key.dtype, value.dtype}
    if query.device.type != "cuda" or dropout or kinds - {torch.bfloat16} - {torch.float16}:
        return False
    width = query.shape[-1]
    return len(kinds) == 1 and _varlen_is_sound(query.device, query.dtype, width)


@lru_cache(maxsize=8)
def _varlen_is_sound(device: torch.device, dtype: torch.dtype, width: int) -> bool:
    """Return whether the kernel is there and gives what attention gives, tried once on two rows."""
    rows = packed_rows([40, 24], device)
    generator = torch.Generator(device).manual_seed(0)
    query, key, value = torch.randn(
        (3, 64, 2, width), generator=generator, device=device, dtype=dtype
    )
    try:
        found = varlen_rows(query, key, value, rows, None, None).float()
    except (ImportError, RuntimeError, TypeError, ValueError) as error:
        log.warning("rows are padded for the attention: no kernel for packed rows (%s)", error)
        return False
    alone = [
        functional.scaled_dot_product_attention(
            query[part].transpose(0, 1).float(),
            key[part].transpose(0, 1).float(),
            value[part].transpose(0, 1).float(),
            is_causal=True,
        ).transpose(0, 1)
        for part in (slice(0, 40), slice(40, 64))
    ]
    # Half precision keeps 8 bits of products of size one.
    if torch.allclose(found, torch.cat(alone), atol=5e-2, rtol=5e-2):
        return True
    log.warning("rows are padded for the attention: the kernel for packed rows gives other values")
    return False


@lru_cache(maxsize=2)  # every layer of a pass asks for the same
def _grids(
    rows: PackedRows, heads: int, key_heads: int, sliding_window: int | None
) -> tuple[Grid, ...]:
    """Return the groups as the attention on a CPU wants them."""
    starts, grids, row = rows.starts.tolist(), [], 0
    for group in rows.groups:
        edges = starts[row : row + group.num_rows + 1]
        mask_SS = _causal(group.longest, sliding_window, torch.empty(0, dtype=torch.bfloat16))
        grids.append(lay_grid(edges, group.longest, heads, key_heads, mask_SS))
        row += group.num_rows
    return tuple(grids)


def _in_bfloat16_on_cpu(states: Tensor) -> bool:
    """Whether products come out in bfloat16."""
    if states.device.type != "cpu":
        return False
    return states.dtype == torch.bfloat16 or torch.is_autocast_enabled("cpu")


def _runs_of_like_length(lengths: Sequence[int]) -> list[list[int]]:
    """Cut where a row would need, or bring, more than a fifth of padding."""
    runs: list[list[int]] = []
    for length in lengths:
        if runs and _LIKE * max(*runs[-1], length) <= min(*runs[-1], length):
            runs[-1].append(length)
        else:
            runs.append([length])
    return runs


def _group(lengths: Sequence[int], device: torch.device | str) -> RowGroup:
    num_tokens = sum(lengths)
    longest = max(lengths) + -max(lengths) % _LENGTH_MULTIPLE
    places = None
    if num_tokens < longest * len(lengths):
        starts = [torch.arange(length) + row * longest for row, length in enumerate(lengths)]
        places = sent(torch.cat(starts), device)
    return RowGroup(num_tokens, len(lengths), longest, places)


def _causal(size: int, window: int | None, like: Tensor) -> Tensor:
    """The causal mask [S, S] to be added, perhaps of a sliding window."""
    allowed_SS = torch.ones((size, size), dtype=torch.bool, device=like.device).tril()
    if window is not None:
        allowed_SS = allowed_SS.triu(1 - window)
    lowest = torch.finfo(like.dtype).min
    return torch.zeros_like(allowed_SS, dtype=like.dtype).masked_fill(~allowed_SS, lowest)


def _pad(states_1HTD: Tensor, rows: RowGroup) -> Tensor:
    """Lay tokens into their rows, [B, H, S, D]; zeros where a row has ended."""
    states_THD = states_1HTD[0].transpose(0, 1)
    if rows.places is not None:
        empty = states_THD.new_zeros((rows.num_rows * rows.longest, *states_THD.shape[1:]))
        states_THD = empty.index_copy(0, rows.places, states_THD)
    return states_THD.unflatten(0, (rows.num_rows, rows.longest)).transpose(1, 2)


def _unpad(states_BHSD: Tensor, rows: RowGroup) -> Tensor:
    """Take the tokens out of their rows again, [T, H, D]."""
    states_NHD = states_BHSD.transpose(1, 2).flatten(0, 1)
    return states_NHD if rows.places is None else states_NHD.index_select(0, rows.places)


AttentionInterface.register(PACKED, packed_attention)
AttentionMaskInterface.register(PACKED, sdpa_mask)
