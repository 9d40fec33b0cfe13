"""Boxes on the padded square, and their text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.data.sources.boxes import Box, box_to_text, to_square

share = st.floats(0, 1)
side = st.integers(1, 5000)


def from_square(box, width, height):
    """The pixel box of a box on the padded square."""
    side = max(width, height)
    across, down = (side - width) // 2, (side - height) // 2
    return Box(
        box.left * side - across,
        box.top * side - down,
        box.right * side - across,
        box.bottom * side - down,
    )


def test_a_landscape_image_is_padded_above_and_below():
    # 100 x 80 on a square of 100: 10 rows above.
    assert to_square(Box(10, 0, 60, 40), 100, 80) == Box(0.1, 0.1, 0.6, 0.5)
    assert to_square(Box(0, 0, 80, 100), 80, 100) == Box(0.1, 0.0, 0.9, 1.0)


def test_text_has_two_decimals():
    assert box_to_text(Box(0.123, 0.3, 0.5, 1.0)) == "[0.12,0.30,0.50,1.00]"


@given(side, side, st.builds(Box, share, share, share, share))
def test_square_round_trip_returns_the_pixels(width, height, shares):
    pixels = Box(
        shares.left * width, shares.top * height, shares.right * width, shares.bottom * height
    )
    square = to_square(pixels, width, height)
    assert all(0 <= corner <= 1 for corner in square)
    assert from_square(square, width, height) == pytest.approx(
        pixels, abs=1e-6 * max(width, height)
    )
