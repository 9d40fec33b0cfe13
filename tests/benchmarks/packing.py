"""Plans every optimizer step of an epoch of the finetune stage, and counts the places lost.

In: an annotation file (`annotations_file.py` writes one of the published size). Its rows are
rendered and tokenised as training does, 576 positions for an image, cut at 2,048. Out: two tables.
Ours: `plan_packs` on each global batch of 128 in the order of the loader, for 1, 2, 4 and 8 ranks.
Beside it the peers: random batches of 16 padded to their longest; the original's sampler
(llava/train/llava_trainer.py of haotian-liu/LLaVA c121f043: megabatches of one modality, sorted by
word count, split evenly over the ranks); best-fit-decreasing packing to rows of 4,096 positions.
A rank waits where another one's micro-step has more positions. Seconds are wall clock on one core.
Run it with `python -m tests.benchmarks.packing [FILE.json] [--rows N] [--lengths KEPT.npz]`.
"""

import argparse
import tempfile
import time
from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from components.core.errors import DataError
from components.data.conversation import render
from components.data.loader.packing import Packs, plan_packs
from components.data.order import permutation
from components.data.raw.json_files import read_json_array
from components.data.records import parse_record
from components.data.tokens import encode_all
from components.model.attention.packed import packed_rows
from tests.benchmarks.annotations_file import build_tokenizer, write_annotations
from tests.data.loader.test_packing import idle_share

MAX_TOKENS = 2_048
PATCHES = 576
IMAGE_TOKEN_ID = 32_000
GLOBAL_BATCH = 128
PACK_TOKENS = 4_096
PER_DEVICE = 16
RANKS = (1, 2, 4, 8)
PLANNING_LIMIT_S = 60
ROWS_PER_CHUNK = 1_000

Lengths = NDArray[np.int64]
DeviceBatches = Iterator[Sequence[Lengths]]
"""For each step the lengths of every rank's batch."""


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path, nargs="?", help="default: one is written")
    parser.add_argument("--rows", type=int, default=None, help="only so many rows of the file")
    parser.add_argument("--lengths", type=Path, help="file that keeps the lengths for another run")
    options = parser.parse_args()
    console = Console(width=100)
    start = time.perf_counter()
    if options.lengths is not None and options.lengths.exists():
        kept = np.load(options.lengths)
        lengths, words = kept["lengths"][: options.rows], kept["words"][: options.rows]
    else:
        with tempfile.TemporaryDirectory() as scratch:
            path = options.path or Path(scratch) / "rows.json"
            if options.path is None:
                write_annotations(path)
            lengths, words = measure(path, options.rows)
        if options.lengths is not None:
            np.savez(options.lengths, lengths=lengths, words=words)
    quarters = ", ".join(f"{n:,.0f}" for n in np.percentile(lengths, (1, 25, 50, 75, 99)))
    console.print(
        f"{len(lengths):,} rows, {lengths.sum():,} positions, {np.mean(words < 0):.1%} text only, "
        f"{np.mean(lengths == MAX_TOKENS):.1%} cut; percentiles 1, 25, 50, 75, 99: {quarters}; "
        f"had in {time.perf_counter() - start:.0f} s"
    )
    console.print(ours(lengths))
    console.print(peers(lengths, words))


def measure(path: Path, num_rows: int | None) -> tuple[Lengths, Lengths]:
    """Return each row's positions, and its words as the original counts them: below 0 for text.

    Rows that `prepare` would reject are left out.
    """
    tokenizer = build_tokenizer()
    rows = islice(read_json_array(path), num_rows)
    lengths: list[int] = []
    words: list[int] = []
    while chunk := list(islice(rows, ROWS_PER_CHUNK)):
        records = [parse_record(raw, "llava_mix665k", "", path.name, index) for index, raw in chunk]
        segments = [render(record.turns, has_image=bool(record.image)) for record in records]
        encoded = encode_all(segments, tokenizer, IMAGE_TOKEN_ID, MAX_TOKENS, PATCHES)
        for (_, raw), record, sample in zip(chunk, records, encoded, strict=True):
            if isinstance(sample, DataError):
                continue
            count = sum(len(turn["value"].split()) for turn in raw["conversations"])
            words.append(count if record.image else -count)
            lengths.append(len(sample.input_ids) + (PATCHES - 1 if record.image else 0))
    return np.array(lengths, dtype=np.int64), np.array(words, dtype=np.int64)


@dataclass
class Planned:
    """What the plans of an epoch add up to."""

    seconds: float = 0.0
    tokens: int = 0
    places: float = 0.0
    num_packs: int = 0
    most_packs: int = 0
    filler: int = 0
    in_attention: int = 0
    runs: int = 0

    def add(self, lengths: list[int], plan: list[Packs]) -> None:
        """Count the plan of one step."""
        self.tokens += sum(lengths)
        self.places += sum(lengths) / (1 - idle_share(lengths, plan))
        self.num_packs += len(plan) * len(plan[0])
        self.most_packs = max(self.most_packs, len(plan[0]))
        for pack in (pack for packs in plan for pack in packs if pack):
            rows = packed_rows([lengths[position] for position in pack])
            self.filler += rows.num_filler
            self.in_attention += sum(group.num_rows * group.longest for group in rows.groups)
            self.runs += len(rows.groups)


def ours(lengths: Lengths) -> Table:
    """Plan an epoch for each number of ranks; returns the table."""
    table = Table(title=f"plan_packs, {PACK_TOKENS:,} tokens", title_justify="left")
    names = ("ranks", "s an epoch", "packs a rank", "most", "fill", "filler", "waits")
    for name in (*names, "lost", "attention pads", "runs a pack"):
        table.add_column(name, justify="right")
    for num_ranks in RANKS:
        steps, total = 0, Planned()
        for batch in global_batches(lengths):
            start = time.perf_counter()
            plan = plan_packs(batch, PACK_TOKENS, num_ranks)
            total.seconds += time.perf_counter() - start
            total.add(batch, plan)
            steps += 1
        table.add_row(
            str(num_ranks),
            f"{total.seconds:.1f}",
            f"{total.num_packs / num_ranks / steps:.2f}",
            str(total.most_packs),
            f"{total.tokens / total.num_packs / PACK_TOKENS:.1%}",
            f"{total.filler / total.tokens:.2%}",
            f"{1 - total.tokens / total.places:.2%}",
            f"{1 - total.tokens / (total.places + total.filler):.2%}",
            f"{1 - total.tokens / total.in_attention:.1%}",
            f"{total.runs / total.num_packs:.1f}",
        )
    table.caption = (
        f"limit {PLANNING_LIMIT_S} s an epoch. filler: behind a pack, to a multiple of 64; else "
        "nothing is padded, but in attention the rows of a run, which are of like length"
    )
    return table


def global_batches(lengths: Lengths) -> Iterator[list[int]]:
    """Yield the lengths of each global batch of the first epoch."""
    order = permutation(len(lengths), "content digest", 0, 0)
    for start in range(0, len(lengths) - GLOBAL_BATCH + 1, GLOBAL_BATCH):
        yield lengths[order[start : start + GLOBAL_BATCH]].tolist()


def peers(lengths: Lengths, words: Lengths) -> Table:
    """Lay out an epoch in other ways; returns the table."""
    table = Table(title="Other ways, the same rows", title_justify="left")
    for name in ("way", "ranks", "padding", "waits", "lost"):
        table.add_column(name, justify="left" if name == "way" else "right")
    for num_ranks in (1, 8):
        ways = {
            f"random batches of {PER_DEVICE}": random_batches(lengths, num_ranks),
            f"the original's modality and length, {PER_DEVICE}": (
                [lengths[part] for part in step] for step in original_batches(words, num_ranks)
            ),
        }
        for name, steps in ways.items():
            table.add_row(name, str(num_ranks), *shares(*padded_places(steps)))
        tokens, taken, places = 0, 0, 0
        for batch in global_batches(lengths):
            bins = best_fit_decreasing(batch, PACK_TOKENS)
            tokens += sum(batch)
            taken += bins * PACK_TOKENS
            places += -(-bins // num_ranks) * num_ranks * PACK_TOKENS
        name = f"best fit decreasing to {PACK_TOKENS:,}, in a step"
        table.add_row(name, str(num_ranks), *shares(tokens, taken, places))
    table.caption = "padding: of the places a rank computes; lost: padding, and waits for others"
    return table


def random_batches(lengths: Lengths, num_ranks: int) -> DeviceBatches:
    """Yield batches in random order, without any grouping."""
    order = permutation(len(lengths), "random")
    size = PER_DEVICE * num_ranks
    for start in range(0, len(lengths) - size + 1, size):
        yield list(lengths[order[start : start + size]].reshape(num_ranks, PER_DEVICE))


def original_batches(words: Lengths, num_ranks: int) -> Iterator[list[list[int]]]:
    """Yield each step's rows, rank by rank, as the original's sampler groups them by word count.

    On one rank the sampler knows batches of 16 only, each of one modality. The order of the steps
    does not matter here; the last, incomplete megabatches are left out.
    """
    size = PER_DEVICE * num_ranks
    for modality in (np.flatnonzero(words > 0), np.flatnonzero(words < 0)):
        shuffled = modality[permutation(len(modality), "original")]
        for start in range(0, len(shuffled) - size + 1, size):
            rows = shuffled[start : start + size]
            parts: list[list[int]] = [[] for _ in range(num_ranks)]
            loads = [0] * num_ranks
            for row in rows[np.argsort(-abs(words[rows]), kind="stable")].tolist():
                open_parts = [part for part in range(num_ranks) if len(parts[part]) < PER_DEVICE]
                part = min(open_parts, key=loads.__getitem__)
                parts[part].append(row)
                loads[part] += abs(int(words[row]))
            yield parts


def padded_places(steps: DeviceBatches) -> tuple[int, int, int]:
    """Return tokens, places of batches padded to their longest, places until the last is done."""
    tokens, taken, places = 0, 0, 0
    for step in steps:
        sizes = [int(part.max()) * len(part) for part in step]
        tokens += sum(int(part.sum()) for part in step)
        taken += sum(sizes)
        places += max(sizes) * len(sizes)
    return tokens, taken, places


def best_fit_decreasing(lengths: Sequence[int], budget: int) -> int:
    """Return how many rows of the budget the samples need, each put where least room is left."""
    room: list[int] = []
    for length in sorted(lengths, reverse=True):
        place = bisect_left(room, length)
        insort(room, (room.pop(place) if place < len(room) else budget) - length)
    return len(room)


def shares(tokens: int, taken: int, places: int) -> tuple[str, str, str]:
    """Return padding, waits and both as shares."""
    return f"{1 - tokens / taken:.1%}", f"{1 - taken / places:.1%}", f"{1 - tokens / places:.1%}"


if __name__ == "__main__":
    main()
