"""Raw annotations and images become prepared data: checked, tokenised, sharded, counted.

In: the raw folder, a `PrepareConfig`, the tokenizer of the model that will be trained. Out: a
folder with rows-*.arrow, images-*.arrow, rejects.jsonl, summary.json and prepared.json, and the
`PreparedData` record. One pass, bounded memory, the same bytes for the same input. A bad row is
left out with its reason; too many of them stop the run. Good rows are never lost: for each source,
read = kept + rejected.
"""

import json
import logging
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

from components.core.errors import DataError
from components.data.config import PrepareConfig, PreparedData
from components.data.conversation import Segment, render
from components.data.image_files import CheckedImage, ImageFiles
from components.data.mixture import build_mixture
from components.data.prepared import write_prepared
from components.data.records import Record, Rejected
from components.data.shards import ShardWriter, digest_of, image_writer, row_writer, spans_of
from components.data.summary import Summary
from components.data.tokens import Tokenizer, encode_all

log = logging.getLogger(__name__)

SUMMARY_FILE = "summary.json"
REJECTS_FILE = "rejects.jsonl"
REJECTS_TOLERATED = 20
"""So many rejected rows never stop a run, whatever their share; small data sets need the slack."""
_ROWS_PER_CHUNK = 512

Progress = Callable[[int], None]
"""Called with the number of rows done so far."""


def prepare(
    config: PrepareConfig,
    raw_path: Path | str,
    tokenizer: Tokenizer,
    image_token_id: int,
    patches_per_image: int,
    output_path: Path | str,
    progress: Progress | None = None,
) -> PreparedData:
    """Write the prepared data of one stage into `output_path` and return its record.

    `tokenizer` is a fast tokenizer, or the folder of one. `image_token_id` and `patches_per_image`
    are those of the model. Raises DataError when an annotation file is missing or damaged, when too
    many rows are bad, or when none is left.
    """
    raw_root, output = Path(raw_path), Path(output_path)
    if not raw_root.is_dir():
        raise DataError(f"{raw_root}: no such raw folder; write or fetch the raw annotations first")
    output.mkdir(parents=True, exist_ok=True)
    if isinstance(tokenizer, (str, Path)):
        tokenizer = load_tokenizer(tokenizer)
    summary = Summary(config.mixture.pilot)
    with (
        ThreadPoolExecutor(config.num_threads) as pool,
        row_writer(output) as rows,
        image_writer(output) as images,
        (output / REJECTS_FILE).open("w", encoding="utf-8") as rejects,
    ):
        files = ImageFiles(raw_root, images, config.embed_images, config.follow_links, pool.map)
        encoder = _Encoder(config, tokenizer, image_token_id, patches_per_image)
        for chunk in _chunks(build_mixture(raw_root, config.mixture, config.seed)):
            for outcome in _prepare_chunk(chunk, files, encoder, summary):
                if isinstance(outcome, Rejected):
                    rejects.write(json.dumps(_reject_line(outcome)) + "\n")
                    summary.reject(outcome)
                else:
                    rows.add(outcome)
                    summary.keep(outcome)
            if progress is not None:
                progress(summary.num_rows + summary.num_rejected)
    _stop_if_too_many(summary, config, raw_root)
    return _finish(config, summary, output, rows, images, image_token_id, patches_per_image)


def load_tokenizer(folder: Path | str) -> Tokenizer:
    """Return the fast tokenizer of a local model folder. Raises DataError without one."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    except (OSError, ValueError) as error:
        raise DataError(f"{folder}: no tokenizer can be loaded ({error})") from None


class _Encoder:
    """Renders and tokenises records the way one stage wants them."""

    def __init__(
        self, config: PrepareConfig, tokenizer: Tokenizer, image_token_id: int, patches: int
    ) -> None:
        self._config = config
        self._tokenizer = tokenizer
        self._image_token_id = image_token_id
        self._patches = patches

    def rows(self, pairs: list[tuple[Record, int]]) -> Iterator[dict[str, Any] | Rejected]:
        """Yield the shard row, or the reject, of each (record, image index)."""
        rendered: list[list[Segment] | DataError] = []
        for record, _ in pairs:
            try:
                rendered.append(
                    render(record.turns, self._config.template, record.image is not None)
                )
            except DataError as error:
                rendered.append(error)
        good = [segments for segments in rendered if not isinstance(segments, DataError)]
        config = self._config
        encoded = iter(
            encode_all(
                good, self._tokenizer, self._image_token_id, config.max_tokens, self._patches
            )
        )
        for (record, image_index), segments in zip(pairs, rendered, strict=True):
            sample = segments if isinstance(segments, DataError) else next(encoded)
            if isinstance(sample, DataError):
                yield _reject(record, str(sample))
                continue
            num_tokens = len(sample.input_ids) + (
                self._patches - 1 if record.image is not None else 0
            )
            yield {
                "id": record.id,
                "source": record.source,
                "input_ids": sample.input_ids,
                "supervised": spans_of(sample.labels),
                "image": record.image,
                "image_index": image_index,
                "num_tokens": num_tokens,
                "num_supervised": sample.num_supervised,
            }


def _prepare_chunk(
    chunk: list[Record | Rejected], files: ImageFiles, encoder: _Encoder, summary: Summary
) -> Iterator[dict[str, Any] | Rejected]:
    """Yield one outcome per row, rejected ones first."""
    records: list[Record] = []
    for row in chunk:
        reason = summary.duplicate_of(row) if isinstance(row, Record) else None
        if isinstance(row, Rejected):
            yield row
        elif reason is not None:
            yield _reject(row, reason)
        else:
            records.append(row)
    checked = files.check(
        {record.image: record.image_bytes for record in records if record.image is not None}
    )
    pairs: list[tuple[Record, int]] = []
    for record in records:
        image: CheckedImage | None = None if record.image is None else checked[record.image]
        if image is not None and image.problem is not None:
            yield _reject(record, image.problem)
        else:
            pairs.append((record, -1 if image is None else image.index))
    yield from encoder.rows(pairs)


def _chunks(rows: Iterable[Record | Rejected]) -> Iterator[list[Record | Rejected]]:
    iterator = iter(rows)
    while chunk := list(islice(iterator, _ROWS_PER_CHUNK)):
        yield chunk


def _reject(record: Record, reason: str) -> Rejected:
    return Rejected(record.source, record.file, record.index, record.id, reason)


def _reject_line(rejected: Rejected) -> dict[str, Any]:
    return {
        "source": rejected.source,
        "file": rejected.file,
        "index": rejected.index,
        "id": rejected.id,
        "reason": rejected.reason,
    }


def _stop_if_too_many(summary: Summary, config: PrepareConfig, raw_root: Path) -> None:
    bad, total = summary.num_rejected, summary.num_rows + summary.num_rejected
    first = "; ".join(f"{reject.where}: {reject.reason}" for reject in summary.first_rejects)
    if bad > REJECTS_TOLERATED and bad > config.max_reject_share * total:
        raise DataError(
            f"{bad} of {total} rows of {raw_root} are bad ({bad / total:.1%}; "
            f"allowed {config.max_reject_share:.1%}): {first}. "
            "Mend the data, or allow more with max_reject_share"
        )
    if summary.num_rows == 0:
        raise DataError(f"{raw_root}: no row is left to train on. {first}".strip())


def _finish(
    config: PrepareConfig,
    summary: Summary,
    output: Path,
    rows: ShardWriter,
    images: ShardWriter,
    image_token_id: int,
    patches_per_image: int,
) -> PreparedData:
    prepared = PreparedData(
        stage=config.stage,
        template=config.template,
        image=config.image,
        image_token_id=image_token_id,
        patches_per_image=patches_per_image,
        max_tokens=config.max_tokens,
        num_rows=summary.num_rows,
        num_rejected=summary.num_rejected,
        num_images=summary.num_images,
        num_tokens=summary.num_tokens,
        num_supervised=summary.num_supervised,
        sources=summary.kept_by_source(),
        content_digest=digest_of(rows.paths + images.paths),
    )
    (output / SUMMARY_FILE).write_text(
        json.dumps(summary.document(), indent=1) + "\n", encoding="utf-8"
    )
    write_prepared(output, prepared)
    for difference in summary.differences():
        log.warning("%s; rejects.jsonl says what was left out", difference)
    log.info(
        "Prepared %s: %s rows, %s images, %s tokens (%s supervised), %s rejected",
        config.stage,
        f"{prepared.num_rows:,}",
        f"{prepared.num_images:,}",
        f"{prepared.num_tokens:,}",
        f"{prepared.num_supervised:,}",
        f"{prepared.num_rejected:,}",
    )
    return prepared
