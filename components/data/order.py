"""Everything drawn by chance, as pure functions: the same arguments give the same result for ever.

In: seeds and names. Out: hashes, permutations, and the split of a batch over ranks. Own arithmetic
instead of numpy's generators, whose streams may change between releases; a resumed run must not
depend on that.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def stable_hash(*parts: object) -> int:
    """Return a 64-bit hash of the parts' texts, equal in every process and release."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(
        hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big"
    )


def permutation(length: int, *key: object) -> NDArray[np.int64]:
    """Return the numbers below `length` in an order that is a pure function of length and key."""
    state = np.arange(1, length + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(
        stable_hash(*key)
    )
    # The finaliser of splitmix64: distinct inputs give distinct outputs, so ties cannot occur.
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    state = state ^ (state >> np.uint64(31))
    return np.argsort(state, kind="stable").astype(np.int64)


def balanced_split(costs: Sequence[int], num_parts: int) -> list[list[int]]:
    """Split positions 0..n-1 into parts of equal count (within one) and near-equal total cost.

    Longest first, each to the part with the least cost that still has room. Within a part the
    positions stay sorted from long to short, so that micro-batches hold samples of like length.
    """
    total = len(costs)
    room = [total // num_parts + (part < total % num_parts) for part in range(num_parts)]
    loads = [0] * num_parts
    parts: list[list[int]] = [[] for _ in range(num_parts)]
    for position in sorted(range(total), key=lambda position: (-costs[position], position)):
        part = min(
            (part for part in range(num_parts) if room[part]), key=lambda part: (loads[part], part)
        )
        parts[part].append(position)
        loads[part] += costs[position]
        room[part] -= 1
    return parts


def least_padding(lengths: Sequence[int], num_pieces: int) -> list[slice]:
    """Cut rows sorted from long to short into at most `num_pieces` runs with the least padding.

    A run is as wide as its first row. No run takes more positions than `ceil(rows / num_pieces)`
    rows of the longest would, so memory is bounded as with runs of equal count; short rows just
    share a run in greater number. Exact, by dynamic programming over the ends of runs.
    """
    total = len(lengths)
    pieces = min(num_pieces, total)
    room = -(-total // num_pieces) * lengths[0] if total else 0
    never = float("inf")
    # cost[end] and start[...]: the least area of the first `end` rows in so many runs.
    cost: list[float] = [0.0] + [never] * total
    starts: list[list[int]] = []
    for _ in range(pieces):
        following: list[float] = [never] * (total + 1)
        chosen = [0] * (total + 1)
        for end in range(1, total + 1):
            for start in range(end):
                area = lengths[start] * (end - start)
                if area <= room and cost[start] + area < following[end]:
                    following[end], chosen[end] = cost[start] + area, start
        cost = following
        starts.append(chosen)
    runs: list[slice] = []
    end = total
    for chosen in reversed(starts):
        runs.append(slice(chosen[end], end))
        end = chosen[end]
    return runs[::-1]
