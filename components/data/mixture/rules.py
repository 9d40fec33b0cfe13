"""The 665K mixture from its raw sources, by the rules of the paper.

In: the raw folder and a `MixtureConfig`. Out: records (and rejected rows) in a fixed order. Does
not look at image files and counts no tokens. Reference: LLaVA-1.5 (arXiv 2310.03744) Table 7 and
Appendix A.2, haotian-liu/LLaVA issue 702 (exact rows). The original never released the code that
built its mixture.
"""

import logging
import string
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import TypeVar

from components.data.config import OPTIONAL_SOURCES, MixtureConfig
from components.data.mixture.sampling import choose, take, take_share
from components.data.order import stable_hash
from components.data.own import forms as own
from components.data.raw.folder import RawPath, file_exists
from components.data.records import Record, Rejected, Turn
from components.data.response_formats import (
    DESCRIBE_REGION,
    LOCATE_REGION,
    ONE_SENTENCE,
    OPTION_LETTER,
    SHORT_ANSWER,
)
from components.data.sources import (
    aokvqa,
    gqa,
    llava,
    ocrvqa,
    refcoco,
    sharegpt,
    textcaps,
    visual_genome,
    vqa,
)
from components.data.sources.annotations import Caption, MultipleChoice, QuestionAnswer, Region
from components.data.sources.boxes import box_to_text

log = logging.getLogger(__name__)

OWN = "own"
"""Name of the part that holds the data of one's own."""

RESPONSE_FORMATS = {
    "vqav2": SHORT_ANSWER,
    "gqa": SHORT_ANSWER,
    "okvqa": SHORT_ANSWER,
    "ocrvqa": SHORT_ANSWER,
    "aokvqa": OPTION_LETTER,
    "textcaps": ONE_SENTENCE,
    "refcoco": (DESCRIBE_REGION, LOCATE_REGION),
    "visual_genome": (DESCRIBE_REGION, LOCATE_REGION),
}
"""What each source adds to its question (paper, Table 7); the others add nothing."""

Annotated = TypeVar("Annotated", QuestionAnswer, MultipleChoice, Caption, Region)


def parts_of(config: MixtureConfig) -> tuple[str, ...]:
    """Return the names of the parts that the mixture is read in: its sources, then own data."""
    return (*config.sources, *([OWN] if config.own else []))


def read_part(
    root: RawPath, part: str, config: MixtureConfig, seed: int
) -> Iterator[Record | Rejected]:
    """Yield the rows of one part, at most its limit, or the pilot's share of them.

    Deterministic in (files, part, config, seed). Raises DataError for a missing or damaged file.
    """
    rows = _limited(root, part, config, seed)
    return rows if config.pilot == 1 else take_share(rows, config.pilot, seed)


def read_source(
    root: RawPath, source: str, config: MixtureConfig, seed: int
) -> Iterator[Record | Rejected]:
    """Yield all rows of one source by its rule."""
    return {
        "llava_pretrain": lambda: llava.read_pretrain(root),
        "llava_instruct": lambda: llava.read_instruct(root),
        "llava_mix665k": lambda: llava.read_mix665k(root),
        "sharegpt": lambda: sharegpt.read(root),
        "vqav2": lambda: _merged("vqav2", _by_image(vqa.read_vqav2(root)), merge_questions),
        "gqa": lambda: _merged("gqa", _by_image(gqa.read(root)), merge_questions),
        "okvqa": lambda: _merged("okvqa", _by_image(vqa.read_okvqa(root)), merge_questions),
        "ocrvqa": lambda: _merged("ocrvqa", _runs_of_image(ocrvqa.read(root)), merge_questions),
        "aokvqa": lambda: _merged("aokvqa", _by_image(aokvqa.read(root)), repeat_per_choice),
        "textcaps": lambda: _merged(
            "textcaps", _by_image(textcaps.read(root)), lambda _, group: [one_caption(group, seed)]
        ),
        "refcoco": lambda: _merged(
            "refcoco",
            _by_image(refcoco.read(root)),
            lambda source, group: region_segments(
                source, group, seed, config.refcoco_segment_turns
            ),
        ),
        "visual_genome": lambda: _merged(
            "visual_genome",
            _runs_of_image(visual_genome.read(root)),
            lambda source, group: [
                sampled_regions(source, group, seed, config.visual_genome_regions)
            ],
        ),
        "grocery": lambda: llava.read_grocery(root),
    }[source]()


def merge_questions(source: str, group: Sequence[QuestionAnswer]) -> list[Record]:
    """Return all questions of an image as one conversation, the format prompt in the first turn."""
    pairs = [(annotation.question, annotation.answer) for annotation in group]
    return [
        _conversation(source, _image_name(group[0].image), group[0].image, pairs, _format(source))
    ]


def repeat_per_choice(source: str, group: Sequence[MultipleChoice]) -> list[Record]:
    """Return the image's conversation once per choice, the options rotated each time.

    So the scarce multiple-choice data weigh more, and the right letter takes each place in turn.
    """
    records = []
    for shift in range(max(len(annotation.choices) for annotation in group)):
        pairs = [_rotated(annotation, shift) for annotation in group]
        name = f"{_image_name(group[0].image)}-{shift}"
        records.append(_conversation(source, name, group[0].image, pairs, _format(source)))
    return records


def one_caption(group: Sequence[Caption], seed: int) -> Record:
    """Return one of the image's captions, drawn by seed (the paper has one row per image)."""
    caption = group[stable_hash(seed, "textcaps", group[0].image) % len(group)]
    return _conversation("textcaps", caption.id, caption.image, [("", caption.text)], ONE_SENTENCE)


def region_segments(
    source: str, group: Sequence[Region], seed: int, segment_turns: int
) -> list[Record]:
    """Return the image's regions in conversations of at most `segment_turns` pairs.

    Each pair is either "describe this box" or "where is this", drawn by seed; as the task may
    change from turn to turn, each turn carries its own prompt.
    """
    records = []
    for start in range(0, len(group), segment_turns):
        pairs = []
        for position, region in enumerate(group[start : start + segment_turns], start):
            box = box_to_text(region.box)
            if stable_hash(seed, source, region.image, position) % 2:
                pairs.append((f"{DESCRIBE_REGION}: {box}", region.expression))
            else:
                pairs.append((f"{LOCATE_REGION}: {region.expression}", box))
        name = f"{_image_name(group[0].image)}-{start // segment_turns}"
        records.append(_conversation(source, name, group[0].image, pairs, ""))
    return records


def sampled_regions(source: str, group: Sequence[Region], seed: int, count: int) -> Record:
    """Return at most `count` of the image's regions, drawn by seed, as one conversation."""
    sample = choose(group, count, seed, source, group[0].image)
    (record,) = region_segments(source, sample, seed, count)
    return record


def _limited(
    root: RawPath, part: str, config: MixtureConfig, seed: int
) -> Iterator[Record | Rejected]:
    if part == OWN:
        return chain.from_iterable(own.read_below(root, path) for path in config.own)
    if part in OPTIONAL_SOURCES and not file_exists(root / llava.GROCERY):
        log.info("Source %s is not in %s and is left out", part, root)
        return iter(())
    rows = read_source(root, part, config, seed)
    limit = config.limits.get(part, 0)
    return take(rows, limit, seed) if limit else rows


def _by_image(
    annotations: Iterable[Annotated | Rejected],
) -> Iterator[list[Annotated] | Rejected]:
    """Yield the annotations of each image together, in order of first appearance."""
    groups: dict[str, list[Annotated]] = {}
    for annotation in annotations:
        if isinstance(annotation, Rejected):
            yield annotation
        else:
            groups.setdefault(annotation.image, []).append(annotation)
    yield from groups.values()


def _runs_of_image(
    annotations: Iterable[Annotated | Rejected],
) -> Iterator[list[Annotated] | Rejected]:
    """Yield the same where those of an image follow each other: Visual Genome's 5 M regions, or
    OCR-VQA's 1 M questions, are never held together.
    """
    group: list[Annotated] = []
    for annotation in annotations:
        if isinstance(annotation, Rejected):
            yield annotation
            continue
        if group and annotation.image != group[0].image:
            yield group
            group = []
        group.append(annotation)
    if group:
        yield group


def _merged(
    source: str,
    groups: Iterable[list[Annotated] | Rejected],
    rule: Callable[[str, list[Annotated]], list[Record]],
) -> Iterator[Record | Rejected]:
    """Apply the rule to the annotations of each image; a record's place is its image's number."""
    index = 0
    for group in groups:
        if isinstance(group, Rejected):
            yield group
            continue
        for record in rule(source, group):
            yield Record(record.id, record.turns, record.image, source, source, index)
        index += 1


def _conversation(
    source: str, name: str, image: str, pairs: Sequence[tuple[str, str]], format_prompt: str
) -> Record:
    turns = []
    for position, (question, answer) in enumerate(pairs):
        parts = [question, format_prompt] if position == 0 else [question]
        turns += [Turn("human", "\n".join(part for part in parts if part)), Turn("gpt", answer)]
    return Record(name, tuple(turns), image, source)


def _rotated(annotation: MultipleChoice, shift: int) -> tuple[str, str]:
    count = len(annotation.choices)
    order = [(position + shift) % count for position in range(count)]
    options = "\n".join(
        f"{string.ascii_uppercase[place]}. {annotation.choices[choice]}"
        for place, choice in enumerate(order)
    )
    return f"{annotation.question}\n{options}", string.ascii_uppercase[
        order.index(annotation.correct)
    ]


def _format(source: str) -> str:
    prompt = RESPONSE_FORMATS[source]
    assert isinstance(prompt, str)
    return prompt


def _image_name(image: str) -> str:
    return image.rsplit("/", 1)[-1].rsplit(".", 1)[0]
