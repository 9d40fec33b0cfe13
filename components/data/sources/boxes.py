"""Boxes as the model reads and writes them: corners in [0, 1] on the square-padded picture.

In: pixel boxes of the annotation files, or text. Out: text such as `[0.12,0.34,0.56,0.78]`, or
boxes. Reference: LLaVA-1.5 boxes are normalised on the padded square, not on the original picture
(haotian-liu/LLaVA issues 606 and 822).
"""

import re
from typing import NamedTuple

from components.core.errors import DataError


class Box(NamedTuple):
    """Left, top, right, bottom."""

    left: float
    top: float
    right: float
    bottom: float


_NUMBER = r"\s*(-?\d+(?:\.\d*)?|-?\.\d+)\s*"
_PATTERN = re.compile(r"\[" + ",".join([_NUMBER] * 4) + r"\]")


def to_square(box: Box, width: int, height: int) -> Box:
    """Return a pixel box of a picture as shares of its padded square, within [0, 1]."""
    side, across, down = _square(width, height)
    corners = (box.left + across, box.top + down, box.right + across, box.bottom + down)
    return Box(*(min(max(corner / side, 0.0), 1.0) for corner in corners))


def from_square(box: Box, width: int, height: int) -> Box:
    """Return the pixel box of a box on the padded square; the inverse of `to_square`."""
    side, across, down = _square(width, height)
    return Box(
        box.left * side - across,
        box.top * side - down,
        box.right * side - across,
        box.bottom * side - down,
    )


def box_to_text(box: Box) -> str:
    """Return the box as the model writes it, two decimals."""
    return "[" + ",".join(f"{corner:.2f}" for corner in box) + "]"


def text_to_box(text: str) -> Box:
    """Return the first box in a text; blanks and any number of decimals are accepted.

    Raises DataError when there is none, so that an answer without a box can be scored as wrong.
    """
    match = _PATTERN.search(text)
    if match is None:
        raise DataError(f"no box in {text!r}; expected one like [0.12,0.34,0.56,0.78]")
    return Box(*(float(number) for number in match.groups()))


def _square(width: int, height: int) -> tuple[int, int, int]:
    """Side of the square and the picture's offset on it, whole pixels as it is pasted."""
    if width < 1 or height < 1:
        raise DataError(f"a picture of {width} x {height} pixels has no boxes")
    side = max(width, height)
    return side, (side - width) // 2, (side - height) // 2
