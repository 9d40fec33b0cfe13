"""The files that parts of the job left become one folder of prepared data.

In: the results of the parts, in order, and their files in the work folder. Out: the shards side by
side under their final names, rejects.jsonl, summary.json and, last, the record. What an earlier job
left in the folder is gone.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.data.config import PrepareConfig, PreparedData
from components.data.prepare.rows import RowJob, row_file
from components.data.prepare.summary import Summary
from components.data.prepare.work_folder import WorkFolder
from components.data.shards import (
    IMAGES,
    RECORD_FILE,
    ROWS,
    VALIDATION,
    digest_of_digests,
    shard_name,
    write_prepared,
)

log = logging.getLogger(__name__)

SUMMARY_FILE = "summary.json"
REJECTS_FILE = "rejects.jsonl"


@dataclass
class CheckedImages:
    """What is known of each image: its number in the shards, or why it cannot be used."""

    indices: NDArray[np.int32]
    problems: dict[int, str]
    shards: list[tuple[str, str]]
    """(file in the work folder, sha256), in order."""


def assemble(
    work: WorkFolder,
    images: CheckedImages,
    results: Sequence[dict[str, Any]],
    config: PrepareConfig,
    job: RowJob,
    raw_uri: str,
    output: Path,
) -> PreparedData:
    """Fill the output folder and return the record; `results` are those of the row parts."""
    _clear(output)
    files: dict[str, list[tuple[str, str]]] = {ROWS: [], VALIDATION: [], IMAGES: images.shards}
    summary = Summary()
    with (output / REJECTS_FILE).open("wb") as rejects:
        for number, result in enumerate(results):
            summary.add(Summary.from_json(result["summary"]))
            for kind in (ROWS, VALIDATION):
                count, digest = result[kind]
                if count:
                    files[kind].append((row_file(number, f"{kind}.arrow"), digest))
            with work.reading(row_file(number, REJECTS_FILE)) as path:
                rejects.write(path.read_bytes())
    shards = [
        (file, shard_name(kind, number), digest)
        for kind, of_kind in files.items()
        for number, (file, digest) in enumerate(of_kind)
    ]
    for file, name, _ in shards:
        work.take(file, output / name)
    num_images = int((images.indices >= 0).sum())
    document = summary.document(num_images, config.mixture.pilot)
    (output / SUMMARY_FILE).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    num_validation = summary.validation.total()
    prepared = PreparedData(
        stage=config.stage,
        template=config.template,
        image=config.image,
        image_token_id=job.image_token_id,
        patches_per_image=job.patches_per_image,
        max_tokens=config.max_tokens,
        raw_uri=raw_uri,
        num_rows=summary.num_rows - num_validation,
        num_validation=num_validation,
        num_rejected=summary.num_rejected,
        num_images=num_images,
        num_tokens=summary.num_tokens,
        num_supervised=summary.num_supervised,
        sources=summary.kept_by_source(),
        content_digest=digest_of_digests([(name, digest) for _, name, digest in shards]),
    )
    write_prepared(output, prepared)
    for difference in summary.differences(config.mixture.pilot):
        log.warning("%s; rejects.jsonl says what was left out", difference)
    return prepared


def in_words(prepared: PreparedData) -> str:
    """Return the record's numbers as a sentence."""
    held_out = f" ({prepared.num_validation:,} held out)" if prepared.num_validation else ""
    return (
        f"Prepared {prepared.stage}: {prepared.num_rows + prepared.num_validation:,} rows{held_out}"
        f", {prepared.num_images:,} images, {prepared.num_tokens:,} tokens "
        f"({prepared.num_supervised:,} supervised), {prepared.num_rejected:,} rejected"
    )


def _clear(output: Path) -> None:
    """Delete an earlier job's files, the record first: what is half there must not be read."""
    names = [RECORD_FILE, REJECTS_FILE, SUMMARY_FILE]
    for kind in (ROWS, VALIDATION, IMAGES):
        names += [path.name for path in output.glob(f"{kind}-*.arrow")]
    for name in names:
        (output / name).unlink(missing_ok=True)
