"""What the readers of raw data sets hand to the mixture: small facts about one image each.

In: nothing. Out: frozen types. A reader yields these or a `Rejected` row; the mixture's rules turn
them into records.
"""

from dataclasses import dataclass

from components.data.sources.boxes import Box


@dataclass(frozen=True, slots=True)
class QuestionAnswer:
    """An open question with its short answer; `image` is a path relative to the raw folder."""

    id: str
    image: str
    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class MultipleChoice:
    """A question with options, one of which is right."""

    id: str
    image: str
    question: str
    choices: tuple[str, ...]
    correct: int


@dataclass(frozen=True, slots=True)
class Caption:
    """One sentence about an image."""

    id: str
    image: str
    text: str


@dataclass(frozen=True, slots=True)
class Region:
    """An expression and the box it describes, on the padded square."""

    id: str
    image: str
    expression: str
    box: Box
