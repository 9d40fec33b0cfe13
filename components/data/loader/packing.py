"""Samples of a global batch are laid into packs: rows of whole samples, a token budget at most.

In: the lengths of a global batch's samples, a token budget, the number of ranks. Out: for every
rank equally many packs, near-equal in cost. Packs are ragged (a pack is as long as what is in it),
so nothing is padded; what can be lost is a rank's wait for the longest pack of a micro-step. No
pack crosses an optimizer step. Builds no tensors. Compare best-fit packing to a fixed length, which
wastes 5 to 6% at 4,096 tokens when it may not cross a step of 128 samples.
"""

import heapq
from collections.abc import Sequence
from itertools import product

from components.core.errors import ConfigError

TOKENS_OF_EQUAL_ATTENTION = 50_000
"""Length at which causal attention costs as much as all matrix products: parameters / (layers *
width) = 6.5e9 / (32 * 4096) for a 7B Llama. Larger models have about the same ratio."""

Packs = list[list[int]]
"""Positions within the global batch, one list per pack."""


def plan_packs(lengths: Sequence[int], budget: int, num_ranks: int) -> list[Packs]:
    """Return each rank's packs, in the order of its micro-steps.

    Every position is in exactly one pack; every rank has equally many packs, as few as dealing by
    cost can fill. Only where samples are fewer than packs are some empty, the last ones of a rank.
    Within a pack positions ascend. A pure function. Raises ConfigError for a sample above the
    budget.
    """
    longest = max(lengths, default=0)
    if longest > budget:
        raise ConfigError(
            f"a sample of {longest} tokens does not fit into packs of {budget}; raise pack_tokens "
            "to at least max_tokens"
        )
    packs_per_rank = max(1, -(-sum(lengths) // (budget * num_ranks)))
    while (packs := _dealt(lengths, budget, packs_per_rank * num_ranks)) is None:
        packs_per_rank += 1
    # Packs of like cost share a micro-step, so that no rank waits long for another.
    packs.sort(key=lambda pack: (-_cost_of(lengths, pack), pack))
    micro_steps = [
        _evened(packs[first : first + num_ranks], lengths, budget)
        for first in range(0, len(packs), num_ranks)
    ]
    return [list(rank_packs) for rank_packs in zip(*micro_steps, strict=True)]


def _dealt(lengths: Sequence[int], budget: int, num_packs: int) -> Packs | None:
    """Deal the samples, longest first, each to the cheapest pack with room; None where one has
    none.
    """
    packs: Packs = [[] for _ in range(num_packs)]
    room = [budget] * num_packs
    heap = [(0.0, pack) for pack in range(num_packs)]
    for position in sorted(range(len(lengths)), key=lambda place: (-lengths[place], place)):
        length, full = lengths[position], []
        while heap and room[heap[0][1]] < length:
            full.append(heapq.heappop(heap))
        if not heap:
            return None
        cost, pack = heapq.heappop(heap)
        packs[pack].append(position)
        room[pack] -= length
        heapq.heappush(heap, (cost + _cost(length), pack))
        for entry in full:
            heapq.heappush(heap, entry)
    return [sorted(filled) for filled in packs]


def _evened(packs: Packs, lengths: Sequence[int], budget: int) -> Packs:
    """Return the packs of a micro-step after exchanges that make its costliest one cheaper.

    The costliest gives a sample to another, perhaps for a smaller one: each time the exchange that
    leaves the dearer of the two cheapest, until none saves the cost of a token. On 128 samples of
    LLaVA-1.5 and 8 ranks the waits fall from 2.2% to 0.5%.
    """
    packs = [list(pack) for pack in packs]
    costs = [_cost_of(lengths, pack) for pack in packs]
    while True:
        dear = max(range(len(packs)), key=costs.__getitem__)
        least, exchange = costs[dear] - 1, None
        for other in range(len(packs)):
            if costs[other] >= least:
                continue
            room = budget - sum(lengths[position] for position in packs[other])
            for given, taken in product(packs[dear], [None, *packs[other]]):
                back = 0 if taken is None else lengths[taken]
                shift = _cost(lengths[given]) - _cost(back)
                dearer = max(costs[dear] - shift, costs[other] + shift)
                if dearer < least and lengths[given] - back <= room:
                    least, exchange = dearer, (other, given, taken)
        if exchange is None:
            return packs
        other, given, taken = exchange
        back_to_dear = set() if taken is None else {taken}
        packs[dear] = sorted({*packs[dear]} - {given} | back_to_dear)
        packs[other] = sorted({*packs[other]} - back_to_dear | {given})
        for pack in (dear, other):
            costs[pack] = _cost_of(lengths, packs[pack])


def _cost(length: int) -> float:
    return length * (1 + length / TOKENS_OF_EQUAL_ATTENTION)


def _cost_of(lengths: Sequence[int], pack: Sequence[int]) -> float:
    return sum(_cost(lengths[position]) for position in pack)
