"""What a model would see of some data: sample by sample, with the lengths and sources of all rows.

In: the user's own data, or a prepared folder, and how the model reads (`View`). Out: a `Gallery` of
plain facts, which `gallery_page` makes into a page. Rendering, tokens and pixels are those of
training (`conversation.render`, `tokens.encode_all`, `images.load_image`); the text shown is
decoded from the token ids, so what is marked as supervised is what has a label.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from components.core.errors import ConfigError, DataError
from components.data.config import ImageSpec
from components.data.conversation import Segment, render
from components.data.images import load_image
from components.data.loader.image_cache import encoded_image
from components.data.order import stable_hash
from components.data.own.forms import OwnData
from components.data.prepare.summary import reason_kind
from components.data.raw.folder import RawPath, open_raw
from components.data.raw.image_files import ImageFiles
from components.data.records import Record, Rejected
from components.data.shards import ImageReader, RowReader, read_prepared
from components.data.tokens import IGNORE_INDEX, Encoded, Tokenizer, encode_all

Item = TypeVar("Item")

_ROWS_PER_CHUNK = 512


@dataclass(frozen=True, slots=True)
class View:
    """How a model reads samples."""

    tokenizer: Tokenizer
    image_token_id: int
    template: str = "vicuna_v1"
    image: ImageSpec = field(default_factory=ImageSpec)
    patches_per_image: int = 576
    max_tokens: int = 2048


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a sample's tokens, written out; an answer is what training learns."""

    text: str
    kind: Literal["prompt", "answer", "image"]


@dataclass(frozen=True, slots=True)
class Shown:
    """One sample; `pixels` are uint8 [3, S, S], None for text alone or where `problem` says why."""

    id: str
    source: str
    where: str
    spans: tuple[Span, ...]
    num_tokens: int
    num_supervised: int
    pixels: NDArray[np.uint8] | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Gallery:
    """Some samples, and the lengths, sources and rejects of all rows."""

    title: str
    view: View
    samples: tuple[Shown, ...]
    lengths: dict[int, int]
    """Rows by number of positions, image patches included."""
    composition: dict[str, int]
    """Rows by source."""
    reasons: dict[str, int] = field(default_factory=dict)
    """Rejected rows by kind of reason; images are opened only for the samples shown."""

    @property
    def num_rows(self) -> int:
        return sum(self.lengths.values())


def show_own(
    data: OwnData,
    view: View,
    number: int,
    seed: int = 0,
    follow_links: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Gallery:
    """Return `number` samples drawn evenly by seed, in their order, and the counts of all rows.

    Rows that would be rejected are counted with their reasons. Raises DataError when a file cannot
    be read or no row is good.
    """
    counts = _Counts()
    drawn = _draw(_scan(data, view, counts, progress), number, seed)
    reasons = dict(counts.reasons.most_common())
    if not counts.lengths:
        raise DataError(
            f"{data.files[0]}: no row can be shown ({next(iter(reasons), 'it is empty')})"
        )
    samples = []
    image_files = ImageFiles(data.image_root, follow_links)
    for record, encoded in drawn:
        where = f"{record.file}[{record.index}]"
        read = None
        if record.image is not None:
            read = partial(_image_of, record, image_files)
        samples.append(_shown(record.id, _group(record), where, encoded, read, view))
    title = ", ".join(file.name for file in data.files[:3]) + (" ..." if data.files[3:] else "")
    return Gallery(title, view, tuple(samples), counts.lengths, counts.composition, reasons)


def show_prepared(
    folder: Path | str, view: View, number: int, seed: int = 0, raw_root: RawPath | None = None
) -> Gallery:
    """Return samples and counts of a prepared folder, read as it says; of `view` the tokenizer.

    Images that were left in the raw folder are read from it, or from `raw_root`. Raises
    ArtifactError where there is no prepared data, ConfigError for a tokenizer with another image
    token.
    """
    prepared = read_prepared(folder)
    if prepared.image_token_id != view.image_token_id:
        raise ConfigError(
            f"{folder} was prepared with image token {prepared.image_token_id}, this tokenizer has "
            f"{view.image_token_id}: give the language model folder that it was prepared for"
        )
    view = replace(
        view,
        template=prepared.template,
        image=prepared.image,
        patches_per_image=prepared.patches_per_image,
        max_tokens=prepared.max_tokens,
    )
    rows, images = RowReader(Path(folder)), ImageReader(Path(folder))
    root = raw_root if raw_root is not None else open_raw(prepared.raw_uri)
    samples = []
    for index in _draw(range(len(rows)), number, seed):
        row = rows.row(index)
        encoded = Encoded(row.input_ids.tolist(), row.labels.tolist())
        read = None
        if row.image_index >= 0:
            read = partial(encoded_image, images.image(row.image_index), root)
        where = row.image or "text only"
        samples.append(_shown(row.id, row.source, where, encoded, read, view))
    return Gallery(
        f"{Path(folder).name}: prepared for {prepared.stage}",
        view,
        tuple(samples),
        Counter(int(length) for length in rows.num_tokens),
        prepared.sources,
        {"see rejects.jsonl beside the shards": prepared.num_rejected}
        if prepared.num_rejected
        else {},
    )


def spans_of(
    input_ids: Sequence[int], labels: Sequence[int], tokenizer: Tokenizer, image_token_id: int
) -> tuple[Span, ...]:
    """Return the text of the ids, cut where supervision begins or ends and at images."""
    spans: list[Span] = []
    text, start = "", 0
    for end in range(len(input_ids)):
        if input_ids[end] == image_token_id:
            spans.append(Span("", "image"))
            text, start = "", end + 1
            continue
        kind: Literal["prompt", "answer"] = "prompt" if labels[end] == IGNORE_INDEX else "answer"
        at_edge = (
            end + 1 == len(input_ids)
            or input_ids[end + 1] == image_token_id
            or (labels[end + 1] == IGNORE_INDEX) != (kind == "prompt")
        )
        if at_edge:
            # Decoded from the chunk's start: a span alone would lose its leading space.
            whole = tokenizer.decode(
                list(input_ids[start : end + 1]), clean_up_tokenization_spaces=False
            )
            spans.append(Span(whole[len(text) :], kind))
            text = whole
    return tuple(spans)


@dataclass(slots=True)
class _Counts:
    """What a scan over all rows leaves beside the rows themselves."""

    lengths: Counter[int] = field(default_factory=Counter)
    composition: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)


def _scan(
    data: OwnData, view: View, counts: _Counts, progress: Callable[[int], None] | None
) -> Iterator[tuple[Record, Encoded]]:
    """Yield every good row with its tokens, and count all of them."""
    rows = data.rows()
    while chunk := list(islice(rows, _ROWS_PER_CHUNK)):
        counts.reasons.update(reason_kind(row.reason) for row in chunk if isinstance(row, Rejected))
        for record, encoded in _encode([row for row in chunk if isinstance(row, Record)], view):
            if isinstance(encoded, DataError):
                counts.reasons[reason_kind(str(encoded))] += 1
                continue
            counts.lengths[_num_positions(encoded, view)] += 1
            counts.composition[_group(record)] += 1
            yield record, encoded
        if progress is not None:
            progress(len(chunk))


def _encode(records: list[Record], view: View) -> Iterator[tuple[Record, Encoded | DataError]]:
    rendered: list[tuple[Record, list[Segment]]] = []
    for record in records:
        try:
            segments = render(record.turns, view.template, record.image is not None)
            rendered.append((record, segments))
        except DataError as error:
            yield record, error
    encoded = encode_all(
        [segments for _, segments in rendered],
        view.tokenizer,
        view.image_token_id,
        view.max_tokens,
        view.patches_per_image,
    )
    for (record, _), result in zip(rendered, encoded, strict=True):
        yield record, result


def _draw(items: Iterable[Item], number: int, seed: int) -> list[Item]:
    """Return an even draw in the items' order, in one pass: the smallest hashes stay."""
    heap: list[tuple[int, int, Item]] = []
    for place, item in enumerate(items):
        entry = (-stable_hash(seed, "show", place), place, item)
        if len(heap) < number:
            heapq.heappush(heap, entry)
        else:
            heapq.heappushpop(heap, entry)
    return [item for _, _, item in sorted(heap, key=lambda entry: entry[1])]


def _shown(
    name: str,
    source: str,
    where: str,
    encoded: Encoded,
    read: Callable[[], bytes] | None,
    view: View,
) -> Shown:
    pixels, problem = None, ""
    try:
        pixels = None if read is None else load_image(read(), view.image)
    except FileNotFoundError:
        problem = "the image does not exist"
    except (DataError, OSError) as error:
        problem = str(error)
    return Shown(
        name,
        source,
        where,
        spans_of(encoded.input_ids, encoded.labels, view.tokenizer, view.image_token_id),
        _num_positions(encoded, view),
        encoded.num_supervised,
        pixels,
        problem,
    )


def _image_of(record: Record, image_files: ImageFiles) -> bytes:
    assert record.image is not None
    if record.image_bytes is not None:
        return record.image_bytes
    return image_files.read(record.image)


def _num_positions(encoded: Encoded, view: View) -> int:
    num_images = encoded.input_ids.count(view.image_token_id)
    return len(encoded.input_ids) + num_images * (view.patches_per_image - 1)


def _group(record: Record) -> str:
    """Return the source that the row names, else its image's first folder."""
    if record.source != record.file:
        return record.source
    if record.image is None:
        return "text only"
    folder, slash, _ = record.image.partition("/")
    return folder if slash and record.image_bytes is None else record.file
