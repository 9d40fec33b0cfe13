"""The roomy cache holds what transformers' own holds, through growing and selecting."""

import torch
from transformers import Cache, DynamicCache, LlamaConfig, MistralConfig

from components.model.generation.kv_cache import (
    SPARE_POSITIONS,
    RoomyLayer,
    empty_cache,
    holds_every_position,
)


def test_it_equals_transformers_own_cache() -> None:
    config = LlamaConfig(num_hidden_layers=2)
    ours, theirs = empty_cache(config), DynamicCache(config=config)
    generator = torch.Generator().manual_seed(0)
    rows = 3
    for number, size in enumerate([5, 1, 1, SPARE_POSITIONS, 1, 2 * SPARE_POSITIONS, 1, 1]):
        if number % 3 == 2:  # rows leave, rows are repeated
            chosen = torch.randint(rows, (4 - number % 2,), generator=generator)
            rows = len(chosen)
            ours.batch_select_indices(chosen)
            theirs.batch_select_indices(chosen)
        for layer in range(2):
            states = torch.randn(2, rows, 4, size, 8, generator=generator)
            mine = ours.update(states[0], states[1], layer)
            other = theirs.update(states[0], states[1], layer)
            assert all(torch.equal(a, b) for a, b in zip(mine, other, strict=True))
        assert ours.get_seq_length() == theirs.get_seq_length()


def test_a_token_is_written_into_room_taken_before() -> None:
    layer = RoomyLayer()
    layer.update(torch.ones(1, 2, 7, 4), torch.ones(1, 2, 7, 4))
    where = layer.keys.data_ptr()
    for _ in range(SPARE_POSITIONS):
        layer.update(torch.ones(1, 2, 1, 4), torch.ones(1, 2, 1, 4))
        assert layer.keys.data_ptr() == where


def test_a_sliding_window_keeps_transformers_cache() -> None:
    cache: Cache = empty_cache(MistralConfig(num_hidden_layers=2, sliding_window=16))
    assert isinstance(cache, DynamicCache)
    assert not holds_every_position(cache)
    assert holds_every_position(empty_cache(LlamaConfig(num_hidden_layers=2)))
