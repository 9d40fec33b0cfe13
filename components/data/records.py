"""One sample of image-instruction data, checked once at the border.

In: an object of the LLaVA JSON format: id, optional image, conversations. Out: a frozen `Record`
whose texts no longer hold the image placeholder, or a `BadRecord` with a reason. Does not look at
image files and knows no template. Reference: docs/Finetune_Custom_Data.md of haotian-liu/LLaVA at
c121f043.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Self

from components.core.errors import DataError
from components.data.order import stable_hash

Role = Literal["human", "gpt"]

IMAGE_PLACEHOLDER = "<image>"
"""What annotation files write where the image belongs; in a `Record` it is gone."""
MAX_ROW_CHARACTERS = 8 << 20
"""Longest conversation that is tokenised: thousands of times what a sample can hold."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One utterance."""

    role: Role
    text: str


@dataclass(frozen=True, slots=True)
class Record:
    """One conversation about at most one image.

    Turns alternate human, gpt and end with gpt; the image, if any, belongs to the first human turn.
    `image` is a path relative to the raw folder, or the name of the image in `image_bytes`, where
    the annotation file itself holds it encoded. `file` and `index` say where the row came from; of
    a row that was merged out of several, they are the source and the number of the image in it.
    """

    id: str
    turns: tuple[Turn, ...]
    image: str | None
    source: str
    file: str = ""
    index: int = 0
    image_bytes: bytes | None = field(default=None, repr=False)

    @property
    def key(self) -> int:
        """A hash that is equal for equal rows; an id alone may recur with other content."""
        return stable_hash(self.source, self.id, self.image, *(turn.text for turn in self.turns))


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that is left out, and why; `where` reads like `instruct.json[1042] id=33471`."""

    source: str
    file: str
    index: int
    id: str
    reason: str

    @classmethod
    def of(cls, record: Record, reason: str) -> Self:
        """Return `record` as left out for `reason`."""
        return cls(record.source, record.file, record.index, record.id, reason)

    @property
    def where(self) -> str:
        return f"{self.file}[{self.index}] id={self.id}"


def duplicate_reason(name: str) -> str:
    """Return why a row with the key of an earlier one is rejected."""
    return f"duplicate: the same row with id {name} came before"


class BadRecord(DataError):
    """A single row is wrong; whoever reads many rows counts it and goes on."""

    def __init__(self, reason: str, where: str = "") -> None:
        super().__init__(f"{where}: {reason}" if where else reason)
        self.reason = reason


def parse_record(
    raw: object, source: str, image_folder: str = "", file: str = "", index: int = 0
) -> Record:
    """Return the record of a LLaVA JSON object; its image path is put below `image_folder`.

    As in the original, an opening gpt turn is dropped and the placeholder may stand before or after
    the first question. Raises BadRecord for everything a template could not render.
    """
    name = record_id(raw, index)
    where = f"{file}[{index}] id={name}"
    try:
        if not isinstance(raw, dict):
            raise BadRecord(f"expected an object, found {type(raw).__name__}")
        image = _image_path(raw.get("image"), image_folder)
        turns = parse_turns(raw.get("conversations"))
        turns = take_placeholder(turns, has_image=image is not None)
        check_turns(turns, has_image=image is not None)
    except BadRecord as error:
        raise BadRecord(error.reason, where) from None
    return Record(name, turns, image, source, file, index)


def record_id(raw: object, index: int) -> str:
    """Return the id that names a row in messages and shards; the index where the row has none."""
    value = raw.get("id") if isinstance(raw, dict) else None
    return str(value) if isinstance(value, (str, int)) and str(value) else str(index)


def parse_turns(raw: object) -> tuple[Turn, ...]:
    """Return the turns of a `conversations` list without an opening gpt turn. Raises BadRecord."""
    if not isinstance(raw, list) or not raw:
        raise BadRecord("`conversations` must be a list of at least one turn")
    turns = []
    for position, item in enumerate(raw):
        role = item.get("from") if isinstance(item, dict) else None
        text = item.get("value") if isinstance(item, dict) else None
        if role not in ("human", "gpt"):
            raise BadRecord(f"turn {position}: role {role!r}; expected 'human' or 'gpt'")
        if not isinstance(text, str):
            raise BadRecord(f"turn {position}: value is {type(text).__name__}; expected text")
        turns.append(Turn(role, text))
    return tuple(turns[1:] if turns[0].role == "gpt" else turns)


def check_turns(turns: Sequence[Turn], has_image: bool) -> None:
    """Raise BadRecord unless the turns alternate, end with an answer and none of them is empty."""
    if not turns:
        raise BadRecord("no human turn")
    for position, turn in enumerate(turns):
        expected = "gpt" if position % 2 else "human"
        if turn.role != expected:
            raise BadRecord(
                f"turn {position}: roles out of order, {turn.role!r} where {expected!r} is due"
            )
        if not turn.text.strip() and not (has_image and position == 0):
            raise BadRecord(f"turn {position}: empty {'answer' if position % 2 else 'question'}")
        check_unicode(turn.text, f"turn {position}")
    if len(turns) % 2:
        raise BadRecord("the last question has no answer")
    if (characters := sum(len(turn.text) for turn in turns)) > MAX_ROW_CHARACTERS:
        raise BadRecord(f"{characters:,} characters of text; the limit is {MAX_ROW_CHARACTERS:,}")


def take_placeholder(turns: tuple[Turn, ...], has_image: bool) -> tuple[Turn, ...]:
    """Return the turns without the placeholder of the first question; in answers it is content.

    Raises BadRecord when placeholders and images do not match.
    """
    counts = [turn.text.count(IMAGE_PLACEHOLDER) for turn in turns if turn.role == "human"]
    if sum(counts) != int(has_image):
        raise BadRecord(
            f"{sum(counts)} {IMAGE_PLACEHOLDER} placeholders but {int(has_image)} images"
        )
    if not has_image:
        return turns
    if counts[0] != 1:
        raise BadRecord(f"{IMAGE_PLACEHOLDER} stands in a later question; expected in the first")
    first, *rest = turns
    return (Turn("human", first.text.replace(IMAGE_PLACEHOLDER, "").strip()), *rest)


def check_unicode(text: str, name: str) -> None:
    """Raise BadRecord where text holds bytes that were not valid UTF-8 when read."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadRecord(f"{name}: invalid UTF-8 near character {error.start}") from None


def _image_path(value: object, folder: str) -> str | None:
    if value is None:
        return None
    if isinstance(value, list):
        raise BadRecord(f"{len(value)} images in one row; expected a single path")
    if not isinstance(value, str) or not value:
        raise BadRecord(f"image is {value!r}; expected a path")
    check_unicode(value, "image")
    # An absolute path must stay absolute here, so that the check against the raw folder refuses it.
    return value if not folder or value.startswith("/") else f"{folder}/{value}"
