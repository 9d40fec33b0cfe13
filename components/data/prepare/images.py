"""One part of the checking of images: some thousand images are read, decoded and packed.

In: paths and where they lie, or images that an annotation file held. Out: an image shard in the
work folder, and the reason of each image that cannot be used. Parts do not know each other.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from components.core.artifact import hash_file
from components.data.prepare.spool import read_spooled_images
from components.data.prepare.work_folder import WorkFolder
from components.data.raw.containers import Place, read_parquet_images
from components.data.raw.folder import RawPath, open_raw
from components.data.raw.image_files import read_image_file, read_place, usable
from components.data.shards import IMAGE_BYTES_PER_BATCH, IMAGE_SCHEMA, IMAGES, ShardFile

_READ_TOGETHER = 32
_REMOTE_READERS = 16
"""Requests under way at once to an object store, whose answers take long rather than work."""

PlacedImage = tuple[str, Place | None]
Outcome = tuple[str, Place | None, bytes | str]
"""Path, place in a container, and the encoded image or the reason against it."""


@dataclass(frozen=True)
class ImageJob:
    """What all parts have in common."""

    work: WorkFolder
    raw_uri: str
    embed: bool
    verify: bool
    follow_links: bool
    num_threads: int


@dataclass(frozen=True)
class ImageTask:
    """The images of one part; `inside` is (spool file, places) of images held there."""

    number: int
    images: tuple[PlacedImage, ...] = ()
    inside: tuple[str, tuple[int, ...]] | None = None

    @property
    def name(self) -> str:
        return f"{IMAGES}/{self.number:05d}"


def check_images(job: ImageJob, task: ImageTask) -> dict[str, Any]:
    """Write the part's shard and return {good, problems (position -> reason), sha256}.

    Good images lie in the shard in the order of the task. Raises StoreError when a store does not
    answer.
    """
    problems: dict[str, str] = {}
    with job.work.writing(f"{task.name}.arrow") as path:
        with ShardFile(path, IMAGE_SCHEMA, IMAGE_BYTES_PER_BATCH) as shard:
            for position, (name, place, outcome) in enumerate(_outcomes(job, task)):
                if isinstance(outcome, str):
                    problems[str(position)] = outcome
                else:
                    row = _row(job, task, name, place, outcome)
                    shard.add(row, len(name) + len(row["bytes"] or b""))
        digest = hash_file(path) if shard.num_rows else ""
    result = {"good": shard.num_rows, "problems": problems, "sha256": digest}
    job.work.finish(task.name, result)
    return result


def _row(
    job: ImageJob, task: ImageTask, name: str, place: Place | None, data: bytes
) -> dict[str, Any]:
    """Return the shard row of a good image."""
    # An image without bytes of its own in the raw folder must be kept, or it would be lost.
    if job.embed or task.inside is not None or (place is not None and place.row >= 0):
        return {"path": name, "bytes": data, "file": None, "offset": 0, "length": -1}
    if place is None:
        return {"path": name, "bytes": None, "file": None, "offset": 0, "length": -1}
    return {
        "path": name,
        "bytes": None,
        "file": place.file,
        "offset": place.offset,
        "length": place.length,
    }


def _outcomes(job: ImageJob, task: ImageTask) -> Iterator[Outcome]:
    if task.inside is not None:
        file, places = task.inside
        with job.work.reading(file) as path:
            for name, data in read_spooled_images(path, places):
                assert data is not None, "only images with bytes are planned by place"
                yield name, None, usable(data, name, job.verify)
        return
    root = open_raw(job.raw_uri)
    rows = [(name, place) for name, place in task.images if place is not None and place.row >= 0]
    if rows:
        yield from _from_rows(job, root, rows)
        return
    readers = job.num_threads if isinstance(root, Path) else _REMOTE_READERS
    with ThreadPoolExecutor(readers) as pool:
        iterator = iter(task.images)
        while some := list(islice(iterator, _READ_TOGETHER)):
            yield from pool.map(lambda placed: _outcome(job, root, *placed), some)


def _outcome(job: ImageJob, root: RawPath, path: str, place: Place | None) -> Outcome:
    if not job.verify and not job.embed:
        return path, place, b""
    try:
        read: bytes | Exception = (
            read_image_file(root, path, job.follow_links)
            if place is None
            else read_place(root, place)
        )
    except Exception as error:  # noqa: BLE001, `usable` tells a bad image from other trouble
        read = error
    return path, place, usable(read, path, job.verify)


def _from_rows(job: ImageJob, root: RawPath, rows: list[tuple[str, Place]]) -> Iterator[Outcome]:
    """Read images of Parquet files, whose rows come in order."""
    files: dict[str, list[tuple[str, Place]]] = {}
    for name, place in rows:
        files.setdefault(place.file, []).append((name, place))
    for file, members in files.items():
        by_row = {place.row: (name, place) for name, place in members}
        for row, data in read_parquet_images(root, file, by_row):
            name, place = by_row[row]
            yield name, place, usable(data, name, job.verify)
