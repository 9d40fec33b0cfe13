"""Packs hold every sample once, keep the budget, and keep ranks busy alike."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.core.errors import ConfigError
from components.data.loader.packing import plan_packs


def idle_share(lengths, plan):
    """The share of token places in which a rank waits for the longest pack of its step."""
    places = 0
    for micro_step in zip(*plan, strict=True):
        tokens = [sum(lengths[position] for position in pack) for pack in micro_step]
        places += max(tokens) * len(tokens)
    return 1 - sum(lengths) / places if places else 0.0


@given(
    st.lists(st.integers(1, 500), min_size=1, max_size=60),
    st.integers(500, 1500),
    st.sampled_from([1, 2, 3, 4, 8]),
)
def test_every_sample_is_in_one_pack_within_the_budget(lengths, budget, num_ranks):
    plan = plan_packs(lengths, budget, num_ranks)
    assert len(plan) == num_ranks
    assert len({len(packs) for packs in plan}) == 1
    packed = [position for packs in plan for pack in packs for position in pack]
    assert sorted(packed) == list(range(len(lengths)))
    for packs in plan:
        assert all(sum(lengths[position] for position in pack) <= budget for pack in packs)
        assert all(pack == sorted(pack) for pack in packs)
    assert plan == plan_packs(lengths, budget, num_ranks)


@pytest.mark.parametrize("num_ranks", [1, 2, 4, 8])
def test_ranks_hardly_wait_at_the_originals_batch(num_ranks):
    """128 samples: 94% with 576 image patches and some turns of text, the rest text alone."""
    rng = random.Random(num_ranks)
    idle = []
    for _ in range(20):
        lengths = [
            min(2048, (576 if rng.random() < 0.94 else 0) + int(rng.lognormvariate(5.1, 0.7)) + 40)
            for _ in range(128)
        ]
        plan = plan_packs(lengths, 4096, num_ranks)
        fewest = -(-sum(lengths) // (4096 * num_ranks))
        assert len(plan[0]) <= 1.1 * fewest + 1
        idle.append(idle_share(lengths, plan))
    assert sum(idle) / len(idle) < 0.01


def test_packs_of_one_micro_step_are_alike():
    assert plan_packs([4, 4, 1, 1], 5, 2) == [[[0, 2]], [[1, 3]]]
    assert idle_share([4, 4, 1, 1], [[[0, 2]], [[1, 3]]]) == 0
    assert idle_share([4, 2], [[[0]], [[1]]]) == 1 - 6 / 8


def test_a_sample_above_the_budget_is_refused():
    with pytest.raises(ConfigError, match="raise pack_tokens"):
        plan_packs([10, 5], 9, 1)
