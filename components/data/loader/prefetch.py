"""An iterator runs ahead in a background thread.

In: an iterator. Out: the same items, in order; an error of the thread is raised where its item was
due. Leaving early (break, close, garbage collection) ends the thread.
"""

import queue
import threading
from collections.abc import Iterator
from typing import TypeVar

Item = TypeVar("Item")

_POLL_S = 0.1
"""How long a full queue waits before it looks whether anybody still reads."""


class _Failure:
    def __init__(self, error: BaseException) -> None:
        self.error = error


_END = object()


def prefetched(items: Iterator[Item], ahead: int) -> Iterator[Item]:
    """Yield the items, up to `ahead` of them made before they are due; 0 makes them on demand."""
    if ahead < 1:
        yield from items
        return
    waiting: queue.Queue[object] = queue.Queue(maxsize=ahead)
    stop = threading.Event()
    thread = threading.Thread(
        target=_fill, args=(items, waiting, stop), name="prefetch", daemon=True
    )
    thread.start()
    try:
        while (item := waiting.get()) is not _END:
            if isinstance(item, _Failure):
                raise item.error
            yield item  # type: ignore[misc]
    finally:
        stop.set()
        thread.join()


def _fill(items: Iterator[object], waiting: "queue.Queue[object]", stop: threading.Event) -> None:
    try:
        for item in items:
            if not _offer(waiting, item, stop):
                return
        _offer(waiting, _END, stop)
    except BaseException as error:  # noqa: BLE001, handed over whole: the reader decides
        _offer(waiting, _Failure(error), stop)


def _offer(waiting: "queue.Queue[object]", item: object, stop: threading.Event) -> bool:
    while not stop.is_set():
        try:
            waiting.put(item, timeout=_POLL_S)
            return True
        except queue.Full:
            continue
    return False
