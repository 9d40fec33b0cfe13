"""One part of the encoding of rows: a spooled file becomes shards, rejects and counts.

In: a file of parsed rows, the number of each row's image, the reasons of rows that are bad by now.
Out: a shard of training rows, one of held-out rows, rejects.jsonl lines and a summary in the work
folder. For each source, read = kept + rejected. Parts do not know each other.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from components.core.artifact import hash_file
from components.core.errors import DataError
from components.data.conversation import Segment, render
from components.data.order import stable_hash
from components.data.prepare.spool import printable, read_rows
from components.data.prepare.summary import Summary
from components.data.prepare.work_folder import WorkFolder
from components.data.records import Record, Rejected
from components.data.shards import (
    ROW_SCHEMA,
    ROWS,
    ROWS_PER_BATCH,
    VALIDATION,
    ShardFile,
    spans_of,
)
from components.data.text_encoder import TextEncoder
from components.data.tokens import encode_all


@dataclass(frozen=True)
class RowJob:
    """What all parts have in common."""

    work: WorkFolder
    encoder: TextEncoder
    template: str
    image_token_id: int
    patches_per_image: int
    max_tokens: int
    validation_share: float
    seed: int


@dataclass(frozen=True)
class RowTask:
    """The rows of one spool file."""

    number: int
    file: str
    image_indices: bytes
    """int32 per row: the image's number in the image shards, -1 without one."""
    problems: dict[int, str] = field(default_factory=dict)
    """Row in the file -> why it is rejected although it was read."""

    @property
    def name(self) -> str:
        return f"{ROWS}/{self.number:05d}"


def row_file(number: int, name: str) -> str:
    """Return where a part's file of this name lies in the work folder."""
    return f"{ROWS}/{number:05d}-{name}"


def encode_rows(job: RowJob, task: RowTask) -> dict[str, Any]:
    """Write the part's files and return {rows, validation: [count, sha256], summary}."""
    summary = Summary()
    with (
        job.work.writing(row_file(task.number, f"{ROWS}.arrow")) as rows_path,
        job.work.writing(row_file(task.number, f"{VALIDATION}.arrow")) as validation_path,
        job.work.writing(row_file(task.number, "rejects.jsonl")) as rejects_path,
        job.work.reading(task.file) as spool_path,
    ):
        with (
            ShardFile(rows_path, ROW_SCHEMA, ROWS_PER_BATCH) as rows,
            ShardFile(validation_path, ROW_SCHEMA, ROWS_PER_BATCH) as validation,
            rejects_path.open("w", encoding="utf-8") as rejects,
        ):
            indices = np.frombuffer(task.image_indices, dtype=np.int32)
            first = 0
            for chunk in read_rows(spool_path):
                for outcome in _encoded(job, task, chunk, indices, first):
                    if isinstance(outcome, Rejected):
                        rejects.write(json.dumps(_reject_line(outcome)) + "\n")
                        summary.reject(outcome)
                        continue
                    held_out = is_held_out(outcome, job.validation_share, job.seed)
                    (validation if held_out else rows).add(outcome)
                    summary.keep(outcome, held_out)
                first += len(chunk)
        result = {
            "summary": summary.to_json(),
            ROWS: [rows.num_rows, hash_file(rows_path) if rows.num_rows else ""],
            VALIDATION: [
                validation.num_rows, hash_file(validation_path) if validation.num_rows else ""
            ],
        }  # fmt: skip
    job.work.finish(task.name, result)
    return result


def is_held_out(row: dict[str, Any], share: float, seed: int) -> bool:
    """Return whether a row is for validation: a hash of its image, so that no image is on both
    sides, or of the row itself where it has none.
    """
    if share <= 0:
        return False
    key = row["image"] if row["image"] is not None else (row["source"], row["id"])
    return stable_hash(seed, "validation", key) < share * 2**64


def _encoded(
    job: RowJob,
    task: RowTask,
    chunk: list[Record | Rejected],
    indices: np.ndarray[Any, np.dtype[np.int32]],
    first: int,
) -> Iterator[dict[str, Any] | Rejected]:
    """Yield the shard row, or the reject, of each row in order."""
    outcomes: list[list[Segment] | Rejected] = []
    for place, row in enumerate(chunk, first):
        if isinstance(row, Rejected):
            outcomes.append(row)
        elif place in task.problems:
            outcomes.append(Rejected.of(row, printable(task.problems[place])))
        else:
            try:
                outcomes.append(render(row.turns, job.template, row.image is not None))
            except DataError as error:
                outcomes.append(Rejected.of(row, printable(str(error))))
    good = [segments for segments in outcomes if not isinstance(segments, Rejected)]
    samples = iter(
        encode_all(good, job.encoder, job.image_token_id, job.max_tokens, job.patches_per_image)
    )
    for place, (row, outcome) in enumerate(zip(chunk, outcomes, strict=True), first):
        if isinstance(outcome, Rejected):
            yield outcome
            continue
        assert isinstance(row, Record)
        sample = next(samples)
        if isinstance(sample, DataError):
            yield Rejected.of(row, printable(str(sample)))
            continue
        patches = job.patches_per_image - 1 if row.image is not None else 0
        yield {
            "id": row.id,
            "source": row.source,
            "input_ids": sample.input_ids,
            "supervised": spans_of(sample.labels),
            "image": row.image,
            "image_index": int(indices[place]),
            "num_tokens": len(sample.input_ids) + patches,
            "num_supervised": sample.num_supervised,
        }


def _reject_line(rejected: Rejected) -> dict[str, Any]:
    return {
        "source": rejected.source,
        "file": rejected.file,
        "index": rejected.index,
        "id": rejected.id,
        "reason": rejected.reason,
    }
