"""Shared beginnings: the pieces on the way to a row are the row, and what is shared is worth it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.model.generation import prefix_sharing as beginnings
from components.model.generation.prefix_sharing import Level, share


def put_together(levels: list[Level]) -> list[list[int]]:
    """Follow the parents from each piece of the last level up to the first."""
    rows = []
    for place in range(len(levels[-1].pieces)):
        row: list[int] = []
        for level in reversed(levels):
            row = [*level.pieces[place], *row]
            place = level.parents[place]
        rows.append(row)
    return rows


def prompt(image: int, question: list[int], system: int = 30, patches: int = 36) -> list[int]:
    return [
        *range(system),
        *(-1 - image * patches - patch for patch in range(patches)),
        *question,
    ]


def test_system_sentence_and_images_are_computed_once() -> None:
    labels = [number // 4 for number in range(64)]
    rows = [prompt(label, [100 + number, 5, 6]) for number, label in enumerate(labels)]
    first, second, third = share(rows, labels)
    assert first.pieces == (list(range(30)),)
    assert [len(piece) for piece in second.pieces] == [36] * 16
    assert third.parents == tuple(labels)
    assert third.pieces[63] == [163, 5, 6]
    assert put_together([first, second, third]) == rows


def test_the_beginning_of_a_question_is_shared_where_all_on_the_image_have_it() -> None:
    labels = [number // 8 for number in range(64)]
    rows = [prompt(label, [7] * 20 + [number % 8]) for number, label in enumerate(labels)]
    levels = share(rows, labels)
    assert [len(piece) for piece in levels[-1].pieces] == [1] * 64
    assert put_together(levels) == rows


def test_an_image_with_one_question_does_not_pad_the_others() -> None:
    labels = [*(number // 4 for number in range(60)), 15]
    rows = [prompt(label, [number, *[5] * 19]) for number, label in enumerate(labels[:-1])]
    rows.append(prompt(15, [9] * 20))
    levels = share(rows, labels)
    assert [len(piece) for piece in levels[1].pieces] == [36] * 16
    assert put_together(levels) == rows


@pytest.mark.parametrize(
    ("rows", "labels"),
    [
        ([[1, 2, 3]], [None]),  # one prompt, as in serving
        ([prompt(0, [5]), prompt(1, [6])], [0, 1]),  # 30 positions are not worth a pass
        ([[1], [1]], [None, None]),  # nothing may be shared: each row keeps its last key
        ([[1], [1, 2]], [0, 0]),
    ],
)
def test_little_is_not_shared(rows: list[list[int]], labels: list[int | None]) -> None:
    (level,) = share(rows, labels)
    assert list(level.pieces) == rows


@given(st.data())
def test_pieces_make_the_rows_and_cost_no_more(data: st.DataObject) -> None:
    number = st.integers(0, 3)
    beginning = st.lists(number, max_size=40)
    system = data.draw(beginning)
    images = data.draw(st.lists(beginning, min_size=1, max_size=4))
    labels = data.draw(st.lists(st.integers(0, len(images) - 1), min_size=1, max_size=40))
    rows = [
        [*system, *images[label], *data.draw(st.lists(number, min_size=1, max_size=5))]
        for label in labels
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(beginnings, "FORWARD_PRICE", data.draw(st.sampled_from([0, 8, 256])))
        levels = share(rows, labels)
        assert put_together(levels) == rows
        assert all(levels[-1].pieces)
        whole = len(rows) * max(map(len, rows)) + beginnings.FORWARD_PRICE
        assert sum(one.num_positions + beginnings.FORWARD_PRICE for one in levels) <= whole
