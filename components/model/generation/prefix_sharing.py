"""Prompts that begin alike, laid out so that a beginning they share is computed once.

In: prompts as lists of keys, equal where the language model would see equal inputs (a token id, or
a patch of one image), and a label that tells which are on one image. Out: levels, each a batch
of pieces that continue pieces of the level before. Questions of a benchmark share the template's
system sentence, those on one image share the image too, which is most of a prompt: of 640
positions of LLaVA-1.5 a question of its own has about 30. It runs no model.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

FORWARD_PRICE = 256
"""Positions that must be saved for each additional pass through the model, which costs time
however short it is: reading all weights, starting each kernel."""


@dataclass(frozen=True)
class Level:
    """A batch of pieces; each continues the piece of the level before that `parents` names."""

    pieces: tuple[list[int], ...]
    parents: tuple[int, ...]
    """All 0 on the first level, which continues nothing."""

    @property
    def num_positions(self) -> int:
        """Positions computed, padding included."""
        return len(self.pieces) * max(map(len, self.pieces))


def share(rows: Sequence[list[int]], labels: Sequence[Hashable]) -> list[Level]:
    """Return levels whose last one has a piece per row, at least one key each; the pieces on the
    way to it are the row.

    One to three levels, whichever cost least: what all rows share, what the rows of a label share,
    the rest. Every level is padded to its longest piece, so rows had best be of like length.
    """
    members: dict[Hashable, list[list[int]]] = {}
    for row, label in zip(rows, labels, strict=True):
        members.setdefault(label, []).append(row)
    whole = _common(rows)
    ends = {label: _common(some) for label, some in members.items()}
    lengths = {label: max(map(len, some)) for label, some in members.items()}

    def price(cut: tuple[int, int]) -> int:
        start, cap = cut
        capped = {label: max(start, min(end, cap)) for label, end in ends.items()}
        middle = max(capped.values()) - start
        last = max(lengths[label] - end for label, end in capped.items())
        num_passes = 1 + bool(start) + bool(middle)
        return start + middle * len(ends) + last * len(rows) + num_passes * FORWARD_PRICE

    # A long piece of one label would pad those of the others: the best cap is one of the lengths.
    caps = {0, *ends.values()} if len(members) < len(rows) else {0}
    start, cap = min(((start, cap) for start in {0, whole} for cap in caps), key=price)
    return _levels(rows, labels, start, {label: min(end, cap) for label, end in ends.items()})


def _levels(
    rows: Sequence[list[int]],
    labels: Sequence[Hashable],
    start: int,
    ends: dict[Hashable, int],
) -> list[Level]:
    """Cut the rows at `start` and where the shared piece of their label ends, if behind it."""
    levels = []
    if start:
        levels.append(Level((rows[0][:start],), (0,)))
    if max(ends.values()) <= start:
        return [*levels, Level(tuple(row[start:] for row in rows), (0,) * len(rows))]
    place = {label: number for number, label in enumerate(ends)}
    first = {label: row for row, label in reversed(list(zip(rows, labels, strict=True)))}
    pieces = tuple(first[label][start:end] for label, end in ends.items())
    levels.append(Level(pieces, (0,) * len(pieces)))
    rests = tuple(row[max(start, ends[label]) :] for row, label in zip(rows, labels, strict=True))
    return [*levels, Level(rests, tuple(place[label] for label in labels))]


def _common(rows: Sequence[list[int]]) -> int:
    """Return the length of the rows' common beginning, short of the shortest row's last key."""
    least, greatest = min(rows), max(rows)  # these two differ first of all pairs
    limit = min(map(len, rows)) - 1
    differs = (
        n for n, (a, b) in enumerate(zip(least, greatest, strict=False)) if a != b or n == limit
    )
    return next(differs, limit)
