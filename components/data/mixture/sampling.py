"""Which rows are kept when not all of them are wanted: pure functions of the rows and a seed.

In: rows in their order. Out: fewer of them. Reads no file and knows no source.
"""

import heapq
import math
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import TypeVar

from components.data.order import stable_hash
from components.data.records import Record, Rejected

_BLOCK_ROWS = 100
"""Rows of a stratum out of which a share is drawn at a time; bounds memory and unevenness."""

Item = TypeVar("Item")


def choose(items: Sequence[Item], count: int, *key: object) -> list[Item]:
    """Return `count` of the items (all, if there are fewer) in their order.

    The draw is a pure function of the number of items and the key.
    """
    chosen = sorted(range(len(items)), key=lambda place: stable_hash(*key, place))[:count]
    return [items[place] for place in sorted(chosen)]


def take(rows: Iterable[Record | Rejected], limit: int, seed: int) -> Iterator[Record | Rejected]:
    """Yield at most `limit` records, drawn by seed, in their order; rejected rows pass."""
    chosen: list[tuple[int, int, Record]] = []
    for position, row in enumerate(rows):
        if isinstance(row, Rejected):
            yield row
            continue
        # A heap of the smallest hashes: the draw does not depend on how many rows there are.
        entry = (-stable_hash(seed, "take", row.source, row.id, position), position, row)
        if len(chosen) < limit:
            heapq.heappush(chosen, entry)
        else:
            heapq.heappushpop(chosen, entry)
    yield from (row for _, _, row in sorted(chosen, key=lambda entry: entry[1]))


def take_share(
    rows: Iterable[Record | Rejected], share: float, seed: int
) -> Iterator[Record | Rejected]:
    """Yield the share of the rows of each stratum: ceil(share x n) of its n rows, in their order.

    A stratum is what `stratum` says. The draw is even over each stratum, since it is made out of
    every hundred rows. Rejected rows are drawn from like the others, so that their share of a
    sample says how many are bad in the whole.
    """
    waiting: dict[Hashable, list[Record | Rejected]] = {}
    seen: dict[Hashable, int] = {}

    def draw(name: Hashable) -> Iterator[Record | Rejected]:
        block, passed = waiting.pop(name), seen.get(name, 0)
        seen[name] = passed + len(block)
        count = _ceil(share * seen[name]) - _ceil(share * passed)
        yield from choose(block, count, seed, "share", name, passed)

    for row in rows:
        name = stratum(row)
        waiting.setdefault(name, []).append(row)
        if len(waiting[name]) == _BLOCK_ROWS:
            yield from draw(name)
    for rest in list(waiting):
        yield from draw(rest)


def stratum(row: Record | Rejected) -> tuple[str, str]:
    """Return the part of the data that a row stands for: its source and its images' data set.

    The ready-made mixture is one source; there the first folder of the image tells the data sets
    apart. Rejected rows are a part of their own.
    """
    if isinstance(row, Rejected):
        return row.source, "rejected"
    return row.source, "" if row.image is None else row.image.split("/", 1)[0]


def _ceil(rows: float) -> int:
    """Round up, but not for the last bit of a product such as 0.1 x 30."""
    return math.ceil(rows - 1e-9)
