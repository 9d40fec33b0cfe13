"""A conversation becomes a row of segments, each supervised or not: the only place templates exist.

In: turns, whether there is an image, and the template's name. Out: segments of text and the two
control pieces (the image, the end of an answer), which are never written as text. Training,
evaluation and serving all render here. Does not tokenise. Reference: llava/conversation.py
`conv_vicuna_v1` and `preprocess_plain` in llava/train/train.py (haotian-liu/LLaVA c121f043).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from components.core.errors import ConfigError, DataError
from components.data.records import Turn

VICUNA_SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
"""`conv_vicuna_v1`; the original's demo says "curious human", unlike its training."""

TEMPLATES = ("vicuna_v1", "plain")


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a rendered conversation; `image` and `end` stand for one control token each."""

    text: str
    supervised: bool = False
    kind: Literal["text", "image", "end"] = "text"


IMAGE = Segment("<image>", kind="image")
END = Segment("</s>", supervised=True, kind="end")


def render(
    turns: Sequence[Turn],
    template: str = "vicuna_v1",
    has_image: bool = False,
    generation: bool = False,
) -> list[Segment]:
    """Return a conversation's segments; with `generation` they end where the answer begins.

    The segments of a prompt are a prefix of the segments of the same turns with the answer.
    Raises DataError when the turns do not fit, ConfigError for an unknown template.
    """
    for position, turn in enumerate(turns):
        if turn.role != ("gpt" if position % 2 else "human"):
            raise DataError(f"turn {position} is {turn.role!r}: turns must alternate, human first")
    if len(turns) % 2 != int(generation) or not turns:
        raise DataError(
            f"{len(turns)} turns: expected the last one to be a "
            + ("question that is to be answered" if generation else "an answer to learn from")
        )
    if template == "vicuna_v1":
        return _vicuna(turns, has_image)
    if template == "plain":
        return _plain(turns, has_image)
    raise ConfigError(f"unknown template {template!r}; known: {', '.join(TEMPLATES)}")


def _vicuna(turns: Sequence[Turn], has_image: bool) -> list[Segment]:
    segments: list[Segment] = []
    for position, turn in enumerate(turns):
        if position % 2:
            segments += [Segment(f" {turn.text}", supervised=True), END]
            continue
        # After </s> no space follows; the system sentence is part of the first header.
        header = "USER: " if position else f"{VICUNA_SYSTEM} USER: "
        if position == 0 and has_image:
            # The original strips the question and writes no newline when nothing is left of it.
            question = turn.text.strip()
            segments += [
                Segment(header),
                IMAGE,
                Segment(f"\n{question} ASSISTANT:" if question else " ASSISTANT:"),
            ]
        else:
            segments.append(Segment(f"{header}{turn.text} ASSISTANT:"))
    return segments


def _plain(turns: Sequence[Turn], has_image: bool) -> list[Segment]:
    """Image and caption: no human text, no end token, as in the original."""
    if len(turns) > 2:
        raise DataError(f"the plain template takes one caption; found {len(turns)} turns")
    segments = [IMAGE] if has_image else []
    return segments + [Segment(f"{turn.text}\n", supervised=True) for turn in turns[1:]]
