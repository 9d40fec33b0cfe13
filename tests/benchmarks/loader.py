"""Times the loader beside a plain torch DataLoader over the original's path, on two cores.

Both read the same rows of the finetune mixture (as `annotations_file.py` writes them, the ones with
an image) and the same JPEGs from a warm page cache. Ours: `Loader` on data that `prepare` made,
batches of uint8 pixels, two threads and one that runs ahead, nothing kept decoded; once with the
images in the shards, once from the raw folder. The original's: two workers that open an image
with PIL, pad it to a square, run transformers' slow CLIP processor and tokenise the conversation
(llava/train/train.py of haotian-liu/LLaVA c121f043), batches of float pixels. Its tokenizer here is
our fast one, once a row, so its text costs less than the original's, which tokenises about twice
with a slow one. Samples per second are of the wall clock, so the machine should be idle; CPU counts
all threads and workers.
Run it with `python -m tests.benchmarks.loader`; files are written to a temporary folder.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

from components.data.config import ImageSpec, PrepareConfig
from components.data.conversation import render
from components.data.loader.loader import Loader
from components.data.prepare.passes import prepare
from components.data.records import Record, parse_record
from components.data.tokens import IGNORE_INDEX, encode
from tests.benchmarks.annotations_file import annotation_rows, build_tokenizer
from tests.benchmarks.images import original, photograph
from tests.data.samples import put

GLOBAL_BATCH = 32
NUM_THREADS = 2
IMAGE_TOKEN_ID = 32_000
PATCHES = 576
MAX_TOKENS = 2_048
PAD_TOKEN_ID = 0
TARGET_SAMPLES_PER_S = 200


def main() -> None:
    """Print samples per second of each way, and how they compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=384)
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    # Workers are forked; the library would warn of that in each of them, and switch this off.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        raw, tokenizer = Path(folder) / "raw", build_tokenizer()
        rows = write_raw(raw, options.images, options.width, options.height)
        ways = {
            "the original's": original_epoch(rows, raw, tokenizer),
            "ours, from shards": our_epoch(raw, tokenizer, Path(folder) / "in", True),
            "ours, from files": our_epoch(raw, tokenizer, Path(folder) / "by", False),
        }
        measured = interleaved(list(ways.values()), options.rounds)
    table = Table(
        title=f"{options.images} samples, JPEGs of {options.width} x {options.height} px to "
        f"{ImageSpec().size_px} px, batches of {GLOBAL_BATCH}; {options.rounds} interleaved epochs",
        title_justify="left",
    )
    for name in ("way", "samples/s", "least", "most", "ratio", "CPU a sample", "ratio"):
        table.add_column(name, justify="left" if name == "way" else "right")
    base, base_cpu = (statistics.median(values) for values in zip(*measured[0], strict=True))
    for name, pairs in zip(ways, measured, strict=True):
        speeds, cpu = zip(*pairs, strict=True)
        speed, cpu_s = statistics.median(speeds), statistics.median(cpu)
        table.add_row(
            name,
            *(f"{value:.0f}" for value in (speed, min(speeds), max(speeds))),
            f"{speed / base:.1f}x",
            f"{cpu_s * 1e3:.2f} ms",
            f"{base_cpu / cpu_s:.1f}x",
        )
    table.caption = (
        f"target for ours: {TARGET_SAMPLES_PER_S} samples/s; {os.cpu_count()} cores here, "
        f"{NUM_THREADS} threads or workers"
    )
    Console(width=100).print(table)


def write_raw(raw: Path, num_images: int, width: int, height: int) -> list[Record]:
    """Write the mixture's file and its images, one for each row; returns the rows."""
    written: list[dict[str, Any]] = []
    with_image = (row for row in map(json.loads, annotation_rows()) if "image" in row)
    for number, row in enumerate(islice(with_image, num_images)):
        image = f"coco/train2017/{number:012d}.jpg"
        put(raw / image, photograph(number, width, height))
        written.append({**row, "id": str(number), "image": image})
    put(raw / "llava_v1_5_mix665k.json", written)
    return [parse_record(row, "llava_mix665k") for row in written]


def our_epoch(
    raw: Path, tokenizer: Any, prepared: Path, embed_images: bool
) -> Callable[[], Iterator[Any]]:
    """Prepare the data; returns what begins an epoch."""
    config = PrepareConfig(
        stage="finetune",
        mixture={"sources": ("llava_mix665k",)},
        embed_images=embed_images,
        max_tokens=MAX_TOKENS,
    )
    prepare(config, raw, tokenizer, IMAGE_TOKEN_ID, PATCHES, prepared)
    loader = Loader(
        prepared,
        GLOBAL_BATCH,
        PAD_TOKEN_ID,
        image_root=raw,
        cache_bytes=0,
        num_threads=NUM_THREADS,
    )
    return loader.batches


def original_epoch(
    rows: Sequence[Record], raw: Path, tokenizer: Any
) -> Callable[[], Iterator[Any]]:
    """Start the workers; returns what begins an epoch."""
    loader = DataLoader(
        OriginalRows(rows, raw, tokenizer),
        GLOBAL_BATCH,
        shuffle=True,
        drop_last=True,
        num_workers=NUM_THREADS,
        collate_fn=collate_floats,
        persistent_workers=True,
    )
    return loader.__iter__


class OriginalRows(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Ids, labels and float pixels of each row, made when asked for."""

    def __init__(self, rows: Sequence[Record], raw: Path, tokenizer: Any) -> None:
        self._rows, self._raw, self._tokenizer = rows, raw, tokenizer
        self._read = original(ImageSpec())

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        row = self._rows[index]
        assert row.image is not None, "only rows with an image were taken"
        pixels = self._read((self._raw / row.image).read_bytes())
        segments = render(row.turns, has_image=True)
        sample = encode(segments, self._tokenizer, IMAGE_TOKEN_ID, MAX_TOKENS, PATCHES)
        return torch.tensor(sample.input_ids), torch.tensor(sample.labels), pixels


def collate_floats(
    samples: Sequence[tuple[Tensor, Tensor, Tensor]],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return ids, labels and mask padded on the right, and the pixels stacked."""
    ids, labels, pixels = zip(*samples, strict=True)
    padded = pad_sequence(ids, batch_first=True, padding_value=PAD_TOKEN_ID)
    targets = pad_sequence(labels, batch_first=True, padding_value=IGNORE_INDEX)
    return padded, targets, padded.ne(PAD_TOKEN_ID), torch.stack(pixels)


def interleaved(
    ways: Sequence[Callable[[], Iterator[Any]]], rounds: int
) -> list[list[tuple[float, float]]]:
    """Return each way's (samples per second, CPU seconds a sample) in every round.

    An epoch of each before that starts workers and warms caches.
    """
    measured: list[list[tuple[float, float]]] = [[] for _ in ways]
    for number in range(rounds + 1):
        for begin, pairs in zip(ways, measured, strict=True):
            start, cpu = time.perf_counter(), cpu_seconds()
            num_samples = sum(1 for _ in begin()) * GLOBAL_BATCH
            seconds, cpu = time.perf_counter() - start, cpu_seconds() - cpu
            if number:
                pairs.append((num_samples / seconds, cpu / num_samples))
    return measured


def cpu_seconds() -> float:
    """Return the CPU time so far of this process and the workers below it."""
    me = psutil.Process()
    times = [process.cpu_times() for process in (me, *me.children())]
    return sum(spent.user + spent.system for spent in times)


if __name__ == "__main__":
    main()
