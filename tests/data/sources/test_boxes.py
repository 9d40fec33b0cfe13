"""Boxes on the padded square, and their text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.core.errors import DataError
from components.data.sources.boxes import Box, box_to_text, from_square, text_to_box, to_square

share = st.floats(0, 1)
side = st.integers(1, 5000)


def test_a_landscape_picture_is_padded_above_and_below():
    # 100 x 80 on a square of 100: 10 rows above.
    assert to_square(Box(10, 0, 60, 40), 100, 80) == Box(0.1, 0.1, 0.6, 0.5)
    assert to_square(Box(0, 0, 80, 100), 80, 100) == Box(0.1, 0.0, 0.9, 1.0)


def test_text_has_two_decimals():
    assert box_to_text(Box(0.123, 0.3, 0.5, 1.0)) == "[0.12,0.30,0.50,1.00]"


@pytest.mark.parametrize(
    "text", ["[0.12,0.3,.5,1]", "at [0.12, 0.30, 0.5, 1.0].", "[ 0.12 ,0.3,0.50,1 ]"]
)
def test_the_usual_spellings_are_read(text):
    assert text_to_box(text) == Box(0.12, 0.3, 0.5, 1.0)


@pytest.mark.parametrize("text", ["", "[0.1,0.2,0.3]", "0.1,0.2,0.3,0.4", "[a,b,c,d]"])
def test_text_without_a_box_is_an_error(text):
    with pytest.raises(DataError, match="no box"):
        text_to_box(text)


@given(st.builds(Box, share, share, share, share))
def test_text_round_trip_is_within_half_a_hundredth(box):
    again = text_to_box(box_to_text(box))
    assert all(abs(ours - theirs) <= 0.005 + 1e-9 for ours, theirs in zip(box, again, strict=True))


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
