"""Fewer rows by limit: so many, in order, the same for the same seed."""

from hypothesis import given
from hypothesis import strategies as st

from components.data.records import Record, Rejected
from components.data.sampling import take


@given(st.integers(0, 30), st.integers(1, 10), st.integers(0, 3))
def test_a_limit_takes_so_many_in_order(count, limit, seed):
    rows = [Record(str(n), (), None, "x", index=n) for n in range(count)]
    bad = Rejected("x", "f", 0, "0", "bad")
    taken = [row for row in take([*rows, bad], limit, seed) if isinstance(row, Record)]
    assert len(taken) == min(count, limit)
    assert [row.index for row in taken] == sorted(row.index for row in taken)
    assert bad in list(take([*rows, bad], limit, seed))
