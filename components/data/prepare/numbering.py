"""Rows and images of a whole mixture get their numbers.

In: what each part of the mixture has spooled. Out: the row files in order, each distinct image
once however many rows of whichever parts show it, and the rows that came before. Holds a path per
image and some bytes per row, no text.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from components.data.prepare.spool import Spooled, read_columns, read_spooled_images
from components.data.prepare.work_folder import WorkFolder


@dataclass
class SpooledMixture:
    """What the readers left: row files in order, and how the images are numbered."""

    files: list[str] = field(default_factory=list)
    num_rows: list[int] = field(default_factory=list)
    images: list[tuple[str, str | None, int]] = field(default_factory=list)
    """Each distinct image: path, the spool file that holds its bytes (or None), its place."""
    image_of_row: list[NDArray[np.int64]] = field(default_factory=list)
    """Per row file: the number of each row's image in `images`, -1 without one."""
    duplicates: list[NDArray[np.bool_]] = field(default_factory=list)
    num_rejected: int = 0

    @property
    def total(self) -> int:
        return sum(self.num_rows)


def number_mixture(work: WorkFolder, parts: Sequence[Spooled]) -> SpooledMixture:
    """Number the images of all parts in order of appearance, and mark rows that came before."""
    read = SpooledMixture()
    numbers: dict[str, int] = {}
    keys: list[NDArray[np.uint64]] = []
    good: list[NDArray[np.bool_]] = []
    for part in parts:
        mine: list[int] = []
        if part.images:
            with work.reading(part.images) as path:
                for at, (name, data) in enumerate(read_spooled_images(path)):
                    if name not in numbers:
                        numbers[name] = len(read.images)
                        read.images.append((name, part.images if data is not None else None, at))
                    mine.append(numbers[name])
        lookup = np.array([*mine, -1], dtype=np.int64)  # the last one answers for -1
        for file, count in zip(part.files, part.num_rows, strict=True):
            with work.reading(file) as path:
                columns = read_columns(path)
            read.files.append(file)
            read.num_rows.append(count)
            read.image_of_row.append(lookup[columns.image_number])
            keys.append(columns.key)
            good.append(columns.good)
        read.num_rejected += part.num_rejected
    read.duplicates = _repeated(keys, good)
    read.num_rejected += int(sum(mask.sum() for mask in read.duplicates))
    return read


def _repeated(
    keys: Sequence[NDArray[np.uint64]], good: Sequence[NDArray[np.bool_]]
) -> list[NDArray[np.bool_]]:
    """Return which good rows have the key of an earlier good row; the key 0 stands for none."""
    if not keys:
        return []
    is_good = np.concatenate(good) & (np.concatenate(keys) != 0)
    _, first = np.unique(np.concatenate(keys)[is_good], return_index=True)
    among_good = np.ones(int(is_good.sum()), dtype=np.bool_)
    among_good[first] = False
    repeated = np.zeros(len(is_good), dtype=np.bool_)
    repeated[is_good] = among_good
    return np.split(repeated, np.cumsum([len(part) for part in keys])[:-1])
