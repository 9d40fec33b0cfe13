"""Raw annotations and images become prepared data: checked, tokenised, sharded, counted.

In: the raw folder, a `PrepareConfig`, the tokenizer of the model that will be trained. Out: a
folder with rows-*.arrow, validation-*.arrow, images-*.arrow, rejects.jsonl, summary.json and
prepared.json, and the `PreparedData` record.

Three passes, each made of parts that a cluster can share out and that are done once, however often
the job is interrupted: the readers spool parsed rows, distinct images are checked and packed, rows
are encoded. No part holds more than some thousand rows. The same bytes for the same input, however
many processes took part. A bad row is left out with its reason; too many of them stop the run. Good
rows are never lost: for each source, read = kept + rejected.
"""

import contextlib
import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from components.core.errors import DataError
from components.data.config import MixtureConfig, PrepareConfig, PreparedData
from components.data.mixture.rules import parts_of, read_part
from components.data.prepare.assembly import CheckedImages, assemble, in_words
from components.data.prepare.image_plan import plan_images
from components.data.prepare.images import ImageJob, check_images
from components.data.prepare.numbering import SpooledMixture, number_mixture
from components.data.prepare.parts import Parts, Reporter, Run
from components.data.prepare.rows import RowJob, RowTask, encode_rows
from components.data.prepare.spool import Spooled, read_rows, spool
from components.data.prepare.summary import Summary
from components.data.prepare.work_folder import WorkFolder
from components.data.raw.folder import check_folder, open_raw
from components.data.records import duplicate_reason
from components.data.shards import ROWS
from components.data.text_encoder import Tokenizer, encoder_of

log = logging.getLogger(__name__)

REJECTS_TOLERATED = 20
"""So many rejected rows never stop a run, whatever their share; small data sets need the slack."""
_FIRST_REJECTS = 3


def prepare(
    config: PrepareConfig,
    raw_uri: str | PathLike[str],
    tokenizer: Tokenizer,
    image_token_id: int,
    patches_per_image: int,
    output_path: Path | str,
    work_uri: str | None = None,
    run: Run = map,
    reporter: Reporter | None = None,
) -> PreparedData:
    """Write the prepared data of one stage into `output_path` and return its record.

    `raw_uri` and `work_uri` may be remote. What an interrupted call of the same settings left in
    `work_uri` is taken up, the raw data being the same; without it nothing is kept. `tokenizer`
    is a fast tokenizer, or the folder of one; `image_token_id` and `patches_per_image` are those of
    the model. Raises DataError when an annotation file is missing or damaged, when too many rows
    are bad, or when none is left; StoreError when a store cannot be read.
    """
    root, output = open_raw(raw_uri), Path(output_path)
    check_folder(root)
    output.mkdir(parents=True, exist_ok=True)
    if isinstance(tokenizer, (str, Path)):
        tokenizer = load_tokenizer(tokenizer)
    encoder = encoder_of(tokenizer)
    work = WorkFolder(work_uri or str(output / "work"))
    identity = {
        "config": config.canonical(),
        "raw": str(root),
        "tokenizer": hashlib.sha256(encoder.backend.to_str().encode()).hexdigest(),
        "image_token_id": image_token_id,
        "patches_per_image": patches_per_image,
    }
    with contextlib.ExitStack() as at_end:
        if work_uri is None:
            at_end.callback(shutil.rmtree, output / "work", ignore_errors=True)
        work.claim(identity)
        job = _Job(config, str(root), Parts(work, run), reporter or Reporter())
        read = job.read()
        images = job.check_images(read)
        row_job = RowJob(
            work, encoder, config.template, image_token_id, patches_per_image, config.max_tokens,
            config.validation_share, config.seed,
        )  # fmt: skip
        rows = job.encode(read, images, row_job)
        prepared = assemble(work, images, rows, config, row_job, str(root), output)
        job.reporter.on_note(in_words(prepared))
        return prepared


def load_tokenizer(folder: Path | str) -> Tokenizer:
    """Return the fast tokenizer of a local model folder. Raises DataError without one."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    except (OSError, ValueError) as error:
        raise DataError(f"{folder}: no tokenizer can be loaded ({error})") from None


@dataclass(frozen=True)
class _ReadTask:
    part: str

    @property
    def name(self) -> str:
        return f"spool/{self.part}"


@dataclass
class _Job:
    config: PrepareConfig
    raw_uri: str
    parts: Parts
    reporter: Reporter

    @property
    def work(self) -> WorkFolder:
        return self.parts.work

    def read(self) -> SpooledMixture:
        """Spool every part of the mixture; number images and find rows that came before."""
        config = self.config
        tasks = [_ReadTask(part) for part in parts_of(config.mixture)]
        function = partial(_read_part, self.work, self.raw_uri, config.mixture, config.seed)
        spooled: dict[str, Spooled] = {}
        for task, result in self.parts.results(function, tasks):
            spooled[task.part] = Spooled(**result)
            log.info("Read %s rows of %s", f"{sum(result['num_rows']):,}", task.part)
        read = number_mixture(self.work, [spooled[task.part] for task in tasks])
        self.reporter.on_note(
            f"Read {read.total:,} rows of {', '.join(task.part for task in tasks)}: "
            f"{len(read.images):,} images"
        )
        self._stop_if_too_many(read.num_rejected, read.total, partial(_first_rejects, self, read))
        return read

    def check_images(self, read: SpooledMixture) -> CheckedImages:
        """Check and pack every distinct image once, however many rows show it."""
        config = self.config
        plan = plan_images(read, self.parts, self.raw_uri, self.reporter.on_note)
        job = ImageJob(
            self.work, self.raw_uri, config.embed_images, config.verify_images,
            config.follow_links, config.num_threads,
        )  # fmt: skip
        done: dict[int, dict[str, Any]] = {}
        problems: dict[int, str] = {}
        num_done = 0
        for task, result in self.parts.results(partial(check_images, job), plan.tasks):
            done[task.number] = result
            numbers = plan.images[task.number]
            problems.update({numbers[int(at)]: why for at, why in result["problems"].items()})
            num_done += len(numbers)
            self.reporter.on_progress(num_done, len(read.images) + read.total)
            # Each bad image spoils one row at least.
            self._stop_if_too_many(
                len(problems), read.total, lambda: "; ".join(list(problems.values())[:3])
            )
        images = CheckedImages(np.full(len(read.images), -1, dtype=np.int32), problems, [])
        count = 0
        for task in plan.tasks:
            result = done[task.number]
            for position, image in enumerate(plan.images[task.number]):
                if str(position) not in result["problems"]:
                    images.indices[image] = count
                    count += 1
            if result["good"]:
                images.shards.append((f"{task.name}.arrow", result["sha256"]))
        return images

    def encode(
        self, read: SpooledMixture, images: CheckedImages, job: RowJob
    ) -> list[dict[str, Any]]:
        """Encode the rows of every spooled file; the results are in the order of the files."""
        tasks = [_row_task(read, images, number, self.work) for number in range(len(read.files))]
        done: dict[int, dict[str, Any]] = {}
        rejected = num_done = 0
        for task, result in self.parts.results(partial(encode_rows, job), tasks):
            done[task.number] = result
            summary = Summary.from_json(result["summary"])
            rejected += summary.num_rejected
            num_done += read.num_rows[task.number]
            self.reporter.on_progress(len(read.images) + num_done, len(read.images) + read.total)
            self._stop_if_too_many(rejected, read.total, partial(_reject_lines, self.work, done))
        if rejected == read.total:
            first = _reject_lines(self.work, done)
            raise DataError(f"{self.raw_uri}: no row is left to train on. {first}".strip())
        return [done[task.number] for task in tasks]

    def _stop_if_too_many(self, bad: int, total: int, first: Callable[[], str]) -> None:
        allowed = self.config.max_reject_share
        if bad > REJECTS_TOLERATED and bad > allowed * total:
            raise DataError(
                f"{bad:,} of {total:,} rows of {self.raw_uri} are bad ({bad / total:.1%}; "
                f"allowed {allowed:.1%}): {first()}. "
                "Mend the data, or allow more with max_reject_share"
            )


def _read_part(
    work: WorkFolder, raw_uri: str, config: MixtureConfig, seed: int, task: _ReadTask
) -> dict[str, Any]:
    rows = read_part(open_raw(raw_uri), task.part, config, seed)
    result = asdict(spool(rows, work, task.name))
    work.finish(task.name, result)
    return result


def _row_task(
    read: SpooledMixture, images: CheckedImages, number: int, work: WorkFolder
) -> RowTask:
    numbers = read.image_of_row[number]
    indices = np.append(images.indices, np.int32(-1))[numbers]
    problems = {
        int(row): images.problems[int(numbers[row])]
        for row in np.flatnonzero((indices < 0) & (numbers >= 0))
    }
    repeated = np.flatnonzero(read.duplicates[number])
    if len(repeated):
        with work.reading(read.files[number]) as path:
            names = [row.id for chunk in read_rows(path) for row in chunk]
        problems.update({int(row): duplicate_reason(names[row]) for row in repeated})
    return RowTask(number, read.files[number], indices.astype(np.int32).tobytes(), problems)


def _first_rejects(job: _Job, read: SpooledMixture) -> str:
    """Return the first rows that the readers rejected, in words."""
    sentences: list[str] = []
    for number, file in enumerate(read.files):
        with job.work.reading(file) as path:
            row_number = 0
            for chunk in read_rows(path):
                for row in chunk:
                    reason = getattr(row, "reason", None)
                    if reason is None and read.duplicates[number][row_number]:
                        reason = duplicate_reason(row.id)
                    if reason is not None:
                        sentences.append(f"{row.file}[{row.index}] id={row.id}: {reason}")
                    row_number += 1
        if len(sentences) >= _FIRST_REJECTS:
            break
    return "; ".join(sentences[:_FIRST_REJECTS])


def _reject_lines(work: WorkFolder, done: Iterable[int]) -> str:
    """Return the first rejects of the parts that are done, in words."""
    sentences: list[str] = []
    for number in sorted(done):
        with work.reading(f"{ROWS}/{number:05d}-rejects.jsonl") as path, path.open() as lines:
            for line in lines:
                row = json.loads(line)
                sentences.append(f"{row['file']}[{row['index']}] id={row['id']}: {row['reason']}")
                if len(sentences) == _FIRST_REJECTS:
                    return "; ".join(sentences)
    return "; ".join(sentences)
