"""The keys and values that a language model has seen, in buffers that grow seldom.

In: keys and values of new positions, layer by layer, as transformers' attention hands them over.
Out: those of all positions so far. transformers' own cache copies everything it holds at every
token; here a token is written into room that was taken before. A model whose attention slides over
a window keeps transformers' cache, which forgets what lies behind the window.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import Cache, DynamicCache, PretrainedConfig
from transformers.cache_utils import DynamicLayer

# Shapes: B rows, H heads, S positions, D head width

SPARE_POSITIONS = 32
"""Least room taken beyond what is needed; most benchmarks' answers fit into it."""
_SPARE_SHARE = 0.25
"""Room taken beyond what is needed, as a share of it: few copies while a long answer grows."""


class RoomyLayer(DynamicLayer):
    """One layer's keys and values; `keys` and `values` are the filled part of the buffers."""

    def __init__(self) -> None:
        super().__init__()
        self._buffers: tuple[Tensor, Tensor] | None = None
        self._length = 0

    def update(
        self, key_states: Tensor, value_states: Tensor, *_args: Any, **_kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Append the positions; return the keys and values of all [B, H, S, D]."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start, end = self._length, self._length + key_states.shape[-2]
        if self._buffers is None or end > self._buffers[0].shape[-2]:
            room = end + max(SPARE_POSITIONS, int(end * _SPARE_SHARE))
            self._buffers = (
                _grown(key_states, self.keys, room),
                _grown(value_states, self.values, room),
            )
        for buffer, new in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, start:end] = new
        self._fill(end)
        return self.keys, self.values

    def get_seq_length(self) -> int:
        return self._length

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep, or repeat, the rows of these indices."""
        if self._buffers is not None:
            keys, values = self._buffers
            self._buffers = (keys.index_select(0, indices), values.index_select(0, indices))
            self._fill(self._length)

    def _fill(self, length: int) -> None:
        assert self._buffers is not None
        self._length = length
        self.keys, self.values = (buffer[:, :, :length] for buffer in self._buffers)


def empty_cache(config: PretrainedConfig) -> Cache:
    """Return an empty cache for a language model of this configuration."""
    usual = DynamicCache(config=config)
    if usual.layers and all(type(layer) is DynamicLayer for layer in usual.layers):
        return Cache(layers=[RoomyLayer() for _ in usual.layers])
    return usual


def holds_every_position(cache: Cache) -> bool:
    """Return whether no layer forgets, so that any gap in the positions is only masked."""
    return all(type(layer) is RoomyLayer for layer in cache.layers)


def _grown(like: Tensor, filled: Tensor | None, room: int) -> Tensor:
    """Return a buffer of so many positions that begins with the filled ones."""
    rows, heads, _, width = like.shape
    buffer = torch.empty((rows, heads, room, width), dtype=like.dtype, device=like.device)
    if filled is not None and filled.numel():
        buffer[:, :, : filled.shape[-2]] = filled
    return buffer
