"""Fewer rows by limit or share: so many, in order, evenly, the same for the same seed."""

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.data.mixture.sampling import choose, stratum, take, take_share
from components.data.records import Record, Rejected


@given(st.integers(0, 30), st.integers(1, 10), st.integers(0, 3))
def test_a_limit_takes_so_many_in_order(count, limit, seed):
    rows = [Record(str(n), (), None, "x", index=n) for n in range(count)]
    bad = Rejected("x", "f", 0, "0", "bad")
    taken = [row for row in take([*rows, bad], limit, seed) if isinstance(row, Record)]
    assert len(taken) == min(count, limit)
    assert [row.index for row in taken] == sorted(row.index for row in taken)
    assert bad in list(take([*rows, bad], limit, seed))


@given(st.integers(0, 60), st.integers(0, 70), st.integers(0, 5))
def test_so_many_are_chosen_in_order(length, count, seed):
    chosen = choose(range(length), count, seed, "key")
    assert len(chosen) == min(length, count)
    assert chosen == sorted(set(chosen))
    assert chosen == choose(range(length), count, seed, "key")


def test_every_item_is_chosen_as_often_as_the_others():
    counts = Counter(item for seed in range(600) for item in choose("abcdefghij", 3, seed))
    assert set(counts) == set("abcdefghij")
    # 600 draws of 3 in 10: 180 each, standard deviation 11.
    assert max(abs(count - 180) for count in counts.values()) < 50


IMAGES = (None, "coco/train2017/1.jpg", "vg/VG_100K/1.jpg")


def rows_of(kinds: list[int]) -> list[Record | Rejected]:
    return [
        Rejected("b", "f", place, str(place), "bad")
        if kind == 6
        else Record(str(place), (), IMAGES[kind % 3], "ab"[kind // 3], index=place)
        for place, kind in enumerate(kinds)
    ]


@given(
    st.lists(st.integers(0, 6), max_size=400),
    st.sampled_from([0.01, 0.1, 0.25, 0.3, 0.5, 0.9, 1.0]),
    st.integers(0, 3),
)
def test_a_share_is_taken_of_every_stratum_in_order(kinds, share, seed):
    rows = rows_of(kinds)
    taken = list(take_share(rows, share, seed))
    assert taken == list(take_share(rows, share, seed))
    whole, part = Counter(map(stratum, rows)), Counter(map(stratum, taken))
    assert part == {name: math.ceil(share * count - 1e-9) for name, count in whole.items()}
    for name in whole:
        places = [row.index for row in taken if stratum(row) == name]
        assert places == sorted(set(places))


def test_a_share_is_even_over_the_rows_and_changes_with_the_seed():
    rows = [Record(str(place), (), None, "a", index=place) for place in range(5000)]
    taken = [row.index for row in take_share(rows, 0.1, 0)]
    # Ten out of each hundred: sorted files are sampled in all their parts.
    assert Counter(index // 100 for index in taken) == dict.fromkeys(range(50), 10)
    # Not always the same place, as every tenth row would be.
    assert len({index % 100 for index in taken}) > 90
    assert taken != [row.index for row in take_share(rows, 0.1, 1)]


def test_a_share_needs_little_memory():
    def endless():
        place = 0
        while True:
            yield Record(str(place), (), None, "a", index=place)
            place += 1

    rows = take_share(endless(), 0.01, 0)
    assert [next(rows).index // 100 for _ in range(4)] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (Record("1", (), None, "sharegpt"), ("sharegpt", "")),
        (Record("1", (), "vg/VG_100K/2.jpg", "llava_mix665k"), ("llava_mix665k", "vg")),
        (Rejected("gqa", "f", 0, "1", "bad"), ("gqa", "rejected")),
    ],
)
def test_strata(row, expected):
    assert stratum(row) == expected
