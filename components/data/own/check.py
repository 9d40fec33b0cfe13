"""Every row of the user's own data is validated, as preparing would, without writing anything.

In: `OwnData`. Out: each bad row with its reason as it is found, and counts that add up: rows = good
+ rejected. Rows are parsed, compared with those before, and their images decoded in full, each
once. Counts no tokens.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

from components.core.errors import DataError
from components.data.own.forms import OwnData
from components.data.prepare.summary import reason_kind
from components.data.raw.image_files import ImageFiles, usable
from components.data.records import Record, Rejected, duplicate_reason

_ROWS_PER_CHUNK = 256


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What `check` found."""

    num_rows: int
    num_good: int
    num_images: int
    """Distinct images of the good rows."""
    reasons: dict[str, int]
    """Rejected rows by kind of reason, the most frequent first."""

    @property
    def num_rejected(self) -> int:
        return self.num_rows - self.num_good


def check(
    data: OwnData,
    on_reject: Callable[[Rejected], None],
    follow_links: bool = False,
    num_threads: int = 1,
    progress: Callable[[int], None] | None = None,
) -> CheckResult:
    """Return the counts after handing each bad row to `on_reject`, in order of the file's chunks.

    A file that is damaged half-way counts as one bad row at the place of the damage; rows behind it
    cannot be read. Raises DataError when not even a first row can, or there is none.
    """
    reasons = Counter[str]()
    images: set[str] = set()
    num_rows = num_good = 0
    sieve = _Sieve(data, follow_links, num_threads)
    with sieve.pool:
        rows = _until_damage(data)
        while chunk := list(islice(rows, _ROWS_PER_CHUNK)):
            for outcome in sieve.sifted(chunk):
                num_rows += 1
                if isinstance(outcome, Rejected):
                    reasons[reason_kind(outcome.reason)] += 1
                    on_reject(outcome)
                else:
                    num_good += 1
                    images |= {outcome.image} if outcome.image is not None else set()
            if progress is not None:
                progress(len(chunk))
    if num_rows == 0:
        raise DataError(f"{data.files[0]}: holds no row")
    return CheckResult(num_rows, num_good, len(images), dict(reasons.most_common()))


def _until_damage(data: OwnData) -> Iterator[Record | Rejected]:
    """Yield the rows of each file, and where one breaks off a rejected row with the reason."""
    for file in data.files:
        index = -1
        try:
            for row in OwnData(data.form, (file,), data.image_root).rows():
                index = row.index
                yield row
        except DataError as error:
            if index < 0 and len(data.files) == 1:
                raise
            yield Rejected(file.name, file.name, index + 1, "-", str(error))


class _Sieve:
    """Remembers the rows and images that it has seen, each once."""

    def __init__(self, data: OwnData, follow_links: bool, num_threads: int) -> None:
        self.pool = ThreadPoolExecutor(num_threads)
        self._images = ImageFiles(data.image_root, follow_links)
        self._rows: set[int] = set()
        self._problems: dict[str, str | None] = {}

    def sifted(self, chunk: list[Record | Rejected]) -> Iterator[Record | Rejected]:
        """Yield each row, rejected where it is a duplicate or its image cannot be used."""
        rows = [self._unless_duplicate(row) for row in chunk]
        new = {
            row.image: row.image_bytes
            for row in rows
            if isinstance(row, Record) and row.image is not None and row.image not in self._problems
        }
        self._problems.update(
            zip(new, self.pool.map(self._problem, new, new.values()), strict=True)
        )
        for row in rows:
            problem = None
            if isinstance(row, Record) and row.image is not None:
                problem = self._problems[row.image]
            yield row if problem is None or isinstance(row, Rejected) else Rejected.of(row, problem)

    def _unless_duplicate(self, row: Record | Rejected) -> Record | Rejected:
        if isinstance(row, Rejected):
            return row
        if row.key in self._rows:
            return Rejected.of(row, duplicate_reason(row.id))
        self._rows.add(row.key)
        return row

    def _problem(self, path: str, inside: bytes | None) -> str | None:
        read: bytes | Exception
        try:
            read = self._images.read(path) if inside is None else inside
        except Exception as error:  # noqa: BLE001, `usable` tells a bad image from other trouble
            read = error
        outcome = usable(read, path)
        return outcome if isinstance(outcome, str) else None
