"""SIGTERM treated like Ctrl-C while a chain runs, so that a stopped job cleans up too.

In: nothing. Out: a KeyboardInterrupt in the main thread when SIGTERM comes (`kill`, `ray job stop`,
a pod that is evicted). In other threads nothing changes: only the main thread receives signals.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def terminate_as_interrupt() -> Iterator[None]:
    """Raise KeyboardInterrupt on SIGTERM within the block."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)


@contextlib.contextmanager
def kept_handlers() -> Iterator[None]:
    """Put the SIGTERM handler back after the block: `ray.init` replaces it."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread() and before is not None:
            signal.signal(signal.SIGTERM, before)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
