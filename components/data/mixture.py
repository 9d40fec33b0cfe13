"""The 665K mixture from its raw sources, by the rules of the paper.

In: the raw folder and a `MixtureConfig`. Out: records (and rejected rows) in a fixed order. Does
not look at image files and counts no tokens. Reference: LLaVA-1.5 (arXiv 2310.03744) Table 7 and
Appendix A.2; llava15.md 1.2 and 1.3. The original never released the code that built its mixture.
"""

import logging
import string
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from components.data.annotations import Caption, MultipleChoice, QuestionAnswer, Region
from components.data.boxes import box_to_text
from components.data.config import OPTIONAL_SOURCES, MixtureConfig
from components.data.order import stable_hash
from components.data.records import Record, Rejected, Turn
from components.data.sampling import take, take_share
from components.data.sources import (
    aokvqa,
    gqa,
    grocery,
    llava_instruct,
    llava_pretrain,
    refcoco,
    sharegpt,
    textcaps,
    vqav2,
)

log = logging.getLogger(__name__)

SHORT_ANSWER = "Answer the question using a single word or phrase."
OPTION_LETTER = "Answer with the option's letter from the given choices directly."
ONE_SENTENCE = "Provide a one-sentence caption for the provided image."
DESCRIBE_REGION = "Provide a short description for this region"
LOCATE_REGION = "Provide the bounding box coordinate of the region this sentence describes"

RESPONSE_FORMATS = {
    "vqav2": SHORT_ANSWER,
    "gqa": SHORT_ANSWER,
    "aokvqa": OPTION_LETTER,
    "textcaps": ONE_SENTENCE,
    "refcoco": (DESCRIBE_REGION, LOCATE_REGION),
}
"""What each source adds to its question (paper, Table 7); the others add nothing."""

Annotated = TypeVar("Annotated", QuestionAnswer, MultipleChoice, Caption, Region)


def build_mixture(root: Path, config: MixtureConfig, seed: int) -> Iterator[Record | Rejected]:
    """Yield the rows of every source in order, at most its limit of each, or the pilot's share.

    Deterministic in (files, config, seed). Raises DataError for a missing or damaged file.
    """
    rows = _limited(root, config, seed)
    return rows if config.pilot == 1 else take_share(rows, config.pilot, seed)


def read_source(
    root: Path, source: str, config: MixtureConfig, seed: int
) -> Iterator[Record | Rejected]:
    """Yield all rows of one source by its rule."""
    return {
        "llava_pretrain": lambda: llava_pretrain.read(root),
        "llava_instruct": lambda: llava_instruct.read(root),
        "sharegpt": lambda: sharegpt.read(root),
        "vqav2": lambda: _merged("vqav2", vqav2.read(root), merge_questions),
        "gqa": lambda: _merged("gqa", gqa.read(root), merge_questions),
        "aokvqa": lambda: _merged("aokvqa", aokvqa.read(root), repeat_per_choice),
        "textcaps": lambda: _merged(
            "textcaps", textcaps.read(root), lambda _, group: [one_caption(group, seed)]
        ),
        "refcoco": lambda: _merged(
            "refcoco",
            refcoco.read(root),
            lambda _, group: region_segments(group, seed, config.refcoco_segment_turns),
        ),
        "grocery": lambda: grocery.read(root),
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


def region_segments(group: Sequence[Region], seed: int, segment_turns: int) -> list[Record]:
    """Return the image's regions in conversations of at most `segment_turns` pairs.

    Each pair is either "describe this box" or "where is this", drawn by seed; as the task may
    change from turn to turn, each turn carries its own prompt.
    """
    records = []
    for start in range(0, len(group), segment_turns):
        pairs = []
        for position, region in enumerate(group[start : start + segment_turns], start):
            box = box_to_text(region.box)
            if stable_hash(seed, "refcoco", region.image, position) % 2:
                pairs.append((f"{DESCRIBE_REGION}: {box}", region.expression))
            else:
                pairs.append((f"{LOCATE_REGION}: {region.expression}", box))
        name = f"{_image_name(group[0].image)}-{start // segment_turns}"
        records.append(_conversation("refcoco", name, group[0].image, pairs, ""))
    return records


def _limited(root: Path, config: MixtureConfig, seed: int) -> Iterator[Record | Rejected]:
    for source in config.sources:
        if source in OPTIONAL_SOURCES and not (root / grocery.FILE).exists():
            log.info("Source %s is not in %s and is left out", source, root)
            continue
        rows = read_source(root, source, config, seed)
        limit = config.limits.get(source, 0)
        yield from take(rows, limit, seed) if limit else rows


def _merged(
    source: str,
    annotations: Iterable[Annotated | Rejected],
    rule: Callable[[str, list[Annotated]], list[Record]],
) -> Iterator[Record | Rejected]:
    """Group annotations by image, in order of first appearance, and apply the rule to each."""
    groups: dict[str, list[Annotated]] = {}
    for annotation in annotations:
        if isinstance(annotation, Rejected):
            yield annotation
        else:
            groups.setdefault(annotation.image, []).append(annotation)
    for index, group in enumerate(groups.values()):
        for record in rule(source, group):
            yield Record(record.id, record.turns, record.image, source, "", index)


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
