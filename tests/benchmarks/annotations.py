"""Prepares an annotation file of the released mixture's size and measures time and memory.

The file (665,298 rows, 1 GB, see `annotations_file.py`) goes through `prepare` on a local Ray,
images trusted and left where they are: the text part. Printed are seconds of each pass, the
largest memory of its own (USS) that any process had, and how long a fresh process takes from its
start to the first batch of training; beside it what the original does before its first batch in
every process, `json.load` of the whole file. Run it with `python -m tests.benchmarks.annotations`;
needs some 5 GB of disk in `--folder`.
"""

import argparse
import logging
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from components.data.config import PrepareConfig, PreparedData
from components.data.loader.loader import Loader
from components.data.prepare.parts import Reporter
from components.data.prepare.passes import prepare
from components.data.prepare.ray_map import ray_map
from tests.benchmarks.annotations_file import build_tokenizer, write_annotations
from tests.benchmarks.images import photograph

NUM_ROWS = 665_298
GLOBAL_BATCH = 128
PATCHES = 576
MEMORY_LIMIT_MB = 1_000
FIRST_BATCH_LIMIT_S = 5
MB = 1e6

console = Console(width=100)


def main() -> None:
    """Print the figures beside their limits."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("/tmp/lavaflow-annotations"))
    parser.add_argument("--rows", type=int, default=NUM_ROWS)
    parser.add_argument("--keep", action="store_true", help="leave the files for another run")
    options = parser.parse_args()
    raw, output = options.folder / "raw", options.folder / "prepared"
    file = raw / "llava_v1_5_mix665k.json"
    if not file.exists():
        raw.mkdir(parents=True, exist_ok=True)
        with console.status("Writing the annotation file"):
            write_annotations(file, options.rows)
    shutil.rmtree(output, ignore_errors=True)
    table = Table(
        title=f"{options.rows:,} rows, {file.stat().st_size / 1e9:.2f} GB", title_justify="left"
    )
    for name in ("what", "measured", "limit"):
        table.add_column(name, justify="left" if name == "what" else "right")
    prepared, notes, seconds, peaks = timed_prepare(raw, output)
    for note, at in notes:
        table.add_row(note, f"after {at:.0f} s", "")
    table.add_row("prepare, all passes", f"{seconds:.0f} s", "")
    for name, peak in sorted(peaks.items(), key=lambda pair: -pair[1])[:3]:
        table.add_row(f"largest own memory: {name}", f"{peak / MB:.0f} MB", f"{MEMORY_LIMIT_MB} MB")
    put_first_images(output, raw)
    start, ready, total = first_batch(output)
    table.add_row("first batch, from the opening of the data", f"{ready:.2f} s", "")
    table.add_row(
        "first batch, from the start of its process", f"{total:.2f} s", f"{FIRST_BATCH_LIMIT_S} s"
    )
    load_s, load_mb = json_load(file)
    table.add_row("the original: json.load, in every process", f"{load_s:.1f} s", "")
    table.add_row("the original: memory of it, in every process", f"{load_mb:.0f} MB", "")
    console.print(table)
    console.print(
        f"{prepared.num_rows:,} rows of {prepared.num_tokens / prepared.num_rows:.0f} positions, "
        f"{prepared.num_rejected:,} rejected; imports took {start:.1f} s of the first batch"
    )
    if not options.keep:
        shutil.rmtree(options.folder)


def timed_prepare(
    raw: Path, output: Path
) -> tuple[PreparedData, list[tuple[str, float]], float, dict[str, float]]:
    """Return the record, the notes with their times, the seconds, the peak memory of processes."""
    import ray

    tokenizer = build_tokenizer()
    config = PrepareConfig(
        stage="finetune",
        mixture={"sources": ("llava_mix665k",)},
        embed_images=False,
        verify_images=False,
    )
    ray.init("local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    notes: list[tuple[str, float]] = []
    start = time.monotonic()
    try:
        with Memory() as memory, console.status("Preparing") as status:
            reporter = Reporter(
                lambda done, total: status.update(f"Preparing: {done:,} of {total:,}"),
                lambda note: notes.append((note, time.monotonic() - start)),
            )
            prepared = prepare(
                config, raw, tokenizer, 32_000, PATCHES, output,
                work_uri=str(output.parent / "work"), run=ray_map, reporter=reporter,
            )  # fmt: skip
            seconds = time.monotonic() - start
    finally:
        ray.shutdown()
        shutil.rmtree(output.parent / "work", ignore_errors=True)
    return prepared, notes, seconds, memory.peaks


class Memory:
    """Samples the own memory (USS) of this process and all below it; a context manager."""

    def __init__(self, every_s: float = 0.2) -> None:
        self.peaks: dict[str, float] = {}
        self._every_s = every_s
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Memory":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        me = psutil.Process()
        while not self._done.wait(self._every_s):
            for process in [me, *me.children(recursive=True)]:
                try:
                    own = process.memory_full_info().uss
                    name = "reader (this process)" if process == me else process.name()
                except psutil.Error:
                    continue
                key = f"{name}, {process.pid}"
                self.peaks[key] = max(self.peaks.get(key, 0), own)


def put_first_images(output: Path, raw: Path) -> None:
    """Write the images of the first global batch, which are all that the first batch needs."""
    loader = Loader(output, GLOBAL_BATCH, pad_token_id=0)
    images = [photograph(seed, 640, 480) for seed in range(8)]
    for place, number in enumerate(loader.global_rows(0)):
        image = loader._rows.row(number).image
        if image is not None:
            (raw / image).parent.mkdir(parents=True, exist_ok=True)
            (raw / image).write_bytes(images[place % len(images)])


def first_batch(output: Path) -> tuple[float, float, float]:
    """Return seconds of imports, of opening and first batch, and of the whole new process."""
    code = (
        "import time; a = time.monotonic()\n"
        "from components.data.loader.loader import Loader\n"
        "b = time.monotonic()\n"
        f"l = Loader({str(output)!r}, {GLOBAL_BATCH}, 0, rank=0, world_size=8, pack_tokens=8192)\n"
        "next(l.batches()); c = time.monotonic()\n"
        "print(b - a, c - b)"
    )
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    total = time.monotonic() - start
    imports, ready = map(float, done.stdout.split())
    return imports, ready, total


def json_load(file: Path) -> tuple[float, float]:
    """Return seconds and own memory of loading the whole file, in a process of its own."""
    code = (
        "import json, psutil, time; a = time.monotonic()\n"
        f"rows = json.load(open({str(file)!r})); b = time.monotonic()\n"
        "print(b - a, psutil.Process().memory_full_info().uss / 1e6)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, memory = map(float, done.stdout.split())
    return seconds, memory


if __name__ == "__main__":
    main()
