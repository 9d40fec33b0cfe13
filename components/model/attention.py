"""Attention for rows without padding: matrix products see real tokens only, attention sees rows.

In: a batch's rows laid end to end, [1, T, D], and where each row lies. Out: the same as attending
row by row. Rows are padded for the attention itself, a few percent of the work, and nowhere else;
under the causal mask padding on the right of a row is never attended to, so no key mask is needed.
Models of transformers call it unchanged, by its registered name.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

PACKED = "lavaflow_packed"
"""Name of the attention in transformers' registry."""
PACKABLE = ("llama", "mistral", "qwen2", "qwen3", "phi3")
"""Kinds of language model whose attention is the plain scaled product, seen to give equal losses
packed and padded."""

# Shapes: B rows, S positions of the longest row, T tokens of all rows, H heads, D head width


NO_MASK = torch.zeros((1, 1, 1, 1))
"""To be given as attention mask with packed rows: transformers passes a mask of four dimensions on
as it is, where it would build one of [T, T] itself."""


@dataclass(frozen=True)
class PackedRows:
    """Where the rows of a pack lie."""

    num_rows: int
    longest: int
    places: Tensor
    """Place of each token in the padded grid of rows, [T] below B * S."""
    positions: Tensor
    """Position of each token within its row, [T]."""


def packed_rows(mask_BS: Tensor) -> PackedRows:
    """Read the rows from a mask that is 1 on tokens; padding is on the right.

    Columns that no row reaches are left out.
    """
    lengths_B = mask_BS.sum(dim=1)
    longest = int(lengths_B.max())
    inside_BS = torch.arange(longest, device=mask_BS.device) < lengths_B.unsqueeze(1)
    place_T = inside_BS.flatten().nonzero().squeeze(1)
    return PackedRows(len(mask_BS), longest, place_T, place_T % longest)


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
    groups = query_1HTD.shape[1] // key_1HTD.shape[1]
    query_BHSD = _pad(query_1HTD, packed_rows)
    key_BHSD = _pad(repeat_kv(key_1HTD, groups), packed_rows)
    value_BHSD = _pad(repeat_kv(value_1HTD, groups), packed_rows)
    window = sliding_window if sliding_window and sliding_window < packed_rows.longest else None
    if query_BHSD.device.type == "cpu" and query_BHSD.dtype == torch.bfloat16:
        # Torch's fused kernel is slow in bf16 on a CPU, its backward pass most of all.
        output_BHSD = _plain(query_BHSD, key_BHSD, value_BHSD, scaling, dropout, window)
    else:
        output_BHSD = functional.scaled_dot_product_attention(
            query_BHSD,
            key_BHSD,
            value_BHSD,
            attn_mask=_causal(packed_rows.longest, window, query_BHSD) if window else None,
            dropout_p=dropout,
            is_causal=window is None,
            scale=scaling,
        )
    return _unpad(output_BHSD, packed_rows), None


def _plain(
    query_BHSD: Tensor,
    key_BHSD: Tensor,
    value_BHSD: Tensor,
    scaling: float | None,
    dropout: float,
    window: int | None,
) -> Tensor:
    """Attention in torch's basic operations, softmax in fp32 as transformers' eager form has it."""
    scale = scaling if scaling is not None else query_BHSD.shape[-1] ** -0.5
    scores_BHSS = torch.matmul(query_BHSD * scale, key_BHSD.transpose(2, 3))
    scores_BHSS = scores_BHSS + _causal(query_BHSD.shape[2], window, query_BHSD)
    weights_BHSS = functional.softmax(scores_BHSS, dim=-1, dtype=torch.float32)
    weights_BHSS = functional.dropout(weights_BHSS.to(query_BHSD.dtype), dropout)
    return torch.matmul(weights_BHSS, value_BHSD)


def _causal(size: int, window: int | None, like: Tensor) -> Tensor:
    """The causal mask [S, S] to be added, perhaps of a sliding window."""
    allowed_SS = torch.ones((size, size), dtype=torch.bool, device=like.device).tril()
    if window is not None:
        allowed_SS = allowed_SS.triu(1 - window)
    lowest = torch.finfo(like.dtype).min
    return torch.zeros_like(allowed_SS, dtype=like.dtype).masked_fill(~allowed_SS, lowest)


def _pad(states_1HTD: Tensor, rows: PackedRows) -> Tensor:
    """Lay tokens into their rows, [B, H, S, D]; zeros where a row has ended."""
    states_THD = states_1HTD[0].transpose(0, 1)
    grid = rows.num_rows * rows.longest
    if len(states_THD) < grid:
        empty = states_THD.new_zeros((grid, *states_THD.shape[1:]))
        states_THD = empty.index_copy(0, rows.places, states_THD)
    return states_THD.unflatten(0, (rows.num_rows, rows.longest)).transpose(1, 2)


def _unpad(states_BHSD: Tensor, rows: PackedRows) -> Tensor:
    """Take the tokens out of their rows again, [1, T, H, D]."""
    states_NHD = states_BHSD.transpose(1, 2).flatten(0, 1)
    if len(rows.places) < len(states_NHD):
        states_NHD = states_NHD.index_select(0, rows.places)
    return states_NHD.unsqueeze(0)


AttentionInterface.register(PACKED, packed_attention)
AttentionMaskInterface.register(PACKED, sdpa_mask)
