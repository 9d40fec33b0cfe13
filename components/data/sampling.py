"""Which rows are kept when not all of them are wanted: pure functions of the rows and a seed.

In: rows in their order. Out: fewer of them. Reads no file and knows no source.
"""

import heapq
from collections.abc import Iterable, Iterator

from components.data.order import stable_hash
from components.data.records import Record, Rejected


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
