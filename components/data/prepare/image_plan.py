"""How the images of a mixture are shared out: which part checks which, and where they lie.

In: the distinct images in order. Out: tasks of some thousand images each. Files of their own
and members of tar files come in the order in which rows show them; images of Parquet files in the
order of their rows, so that none is read twice; images that an annotation file held are taken
from where the readers put them.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from components.data.prepare.images import ImageTask
from components.data.prepare.numbering import SpooledMixture
from components.data.prepare.parts import Parts
from components.data.prepare.work_folder import WorkFolder
from components.data.raw.containers import Container, Place, find_containers, index_container
from components.data.raw.folder import open_raw

IMAGES_PER_PART = 2_048


@dataclass(frozen=True)
class ImagePlan:
    """The tasks, and for each of them the numbers of its images in order."""

    tasks: list[ImageTask]
    images: list[list[int]]


def plan_images(
    read: SpooledMixture, parts: Parts, raw_uri: str, on_note: Callable[[str], None]
) -> ImagePlan:
    """Return who checks which of the images. Raises as indexing the containers does."""
    places = _places(
        {path for path, inside, _ in read.images if inside is None}, parts, raw_uri, on_note
    )
    loose: list[int] = []
    in_rows: list[tuple[str, int, int]] = []
    held: dict[str, list[int]] = {}
    for number, (path, inside, _) in enumerate(read.images):
        place = places.get(path)
        if inside is not None:
            held.setdefault(inside, []).append(number)
        elif place is not None and place.row >= 0:
            in_rows.append((place.file, place.row, number))
        else:
            loose.append(number)
    plan = ImagePlan([], [])
    for some in (*_cut(loose), *_cut([number for _, _, number in sorted(in_rows)])):
        paths = [read.images[number][0] for number in some]
        images = tuple((path, places.get(path)) for path in paths)
        plan.tasks.append(ImageTask(len(plan.tasks), images))
        plan.images.append(some)
    for file, numbers in held.items():
        for some in _cut(numbers):
            held_at = tuple(read.images[number][2] for number in some)
            plan.tasks.append(ImageTask(len(plan.tasks), inside=(file, held_at)))
            plan.images.append(some)
    return plan


@dataclass(frozen=True)
class _IndexTask:
    container: Container

    @property
    def name(self) -> str:
        return "index/" + hashlib.sha256(self.container.file.encode()).hexdigest()[:16]


def _places(
    wanted: set[str], parts: Parts, raw_uri: str, on_note: Callable[[str], None]
) -> dict[str, Place]:
    """Return where those images lie that are in containers."""
    folders = {path.rpartition("/")[0] for path in wanted}
    containers = find_containers(open_raw(raw_uri), sorted(folders))
    tasks = [_IndexTask(container) for container in containers]
    indexed = dict(parts.results(partial(_index, parts.work, raw_uri), tasks))
    places: dict[str, Place] = {}
    # In the order of their names, whichever was done first: of two places the last one counts.
    for task in (task for task in tasks if task in indexed):
        with parts.work.reading(f"{task.name}.jsonl") as path, path.open() as lines:
            for line in lines:
                name, offset, length, row = json.loads(line)
                if name in wanted:
                    places[name] = Place(task.container.file, offset, length, row)
    if containers:
        on_note(f"Found {len(places):,} of {len(wanted):,} images in {len(containers)} containers")
    return places


def _index(work: WorkFolder, raw_uri: str, task: _IndexTask) -> int:
    count = 0
    with work.writing(f"{task.name}.jsonl") as path, path.open("w") as lines:
        for name, place in index_container(open_raw(raw_uri), task.container):
            lines.write(json.dumps([name, place.offset, place.length, place.row]) + "\n")
            count += 1
    work.finish(task.name, count)
    return count


def _cut(numbers: Sequence[int]) -> Iterator[list[int]]:
    for start in range(0, len(numbers), IMAGES_PER_PART):
        yield list(numbers[start : start + IMAGES_PER_PART])
