"""The background thread keeps the order, hands errors over and ends."""

import threading

import pytest

from components.data.loader.prefetch import prefetched


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_items_keep_their_order(ahead):
    assert list(prefetched(iter(range(50)), ahead)) == list(range(50))


@pytest.mark.parametrize("ahead", [0, 2])
def test_an_error_is_raised_where_its_item_was_due(ahead):
    def items():
        yield 1
        yield 2
        raise ValueError("third")

    seen = []
    with pytest.raises(ValueError, match="third"):
        for item in prefetched(items(), ahead):
            seen.append(item)
    assert seen == [1, 2]


def test_no_more_than_asked_is_made_ahead():
    made = []
    first_read = threading.Event()

    def items():
        for number in range(100):
            made.append(number)
            yield number

    source = prefetched(items(), 2)
    next(source)
    first_read.set()
    source.close()
    # One handed over, two waiting, one in the hands of the thread.
    assert len(made) <= 5
