"""Boxes as the model reads and writes them: corners in [0, 1] on the square-padded image.

In: pixel boxes of the annotation files. Out: boxes, and text such as `[0.12,0.34,0.56,0.78]`.
Reference: LLaVA-1.5 boxes are normalised on the padded square, not on the original image
(haotian-liu/LLaVA issues 606 and 822).
"""

from typing import NamedTuple

from components.core.errors import DataError


class Box(NamedTuple):
    """Left, top, right, bottom."""

    left: float
    top: float
    right: float
    bottom: float


def to_square(box: Box, width: int, height: int) -> Box:
    """Return a pixel box of an image as shares of its padded square, within [0, 1]."""
    if width < 1 or height < 1:
        raise DataError(f"an image of {width} x {height} pixels has no boxes")
    side = max(width, height)
    # The image's offset on the square, whole pixels as it is pasted.
    across, down = (side - width) // 2, (side - height) // 2
    corners = (box.left + across, box.top + down, box.right + across, box.bottom + down)
    return Box(*(min(max(corner / side, 0.0), 1.0) for corner in corners))


def box_to_text(box: Box) -> str:
    """Return the box as the model writes it, two decimals."""
    return "[" + ",".join(f"{corner:.2f}" for corner in box) + "]"
