"""A worker that hangs says where, and ends, so that its group can go on from a checkpoint.

In: a patience, and a sign of life from time to time. Out: nothing, or the stacks of all threads in
the worker's log and the end of the process. It works where Python itself is stuck (in a collective,
in a lock), because the timer is one of the interpreter's own (`faulthandler`).
"""

import faulthandler
import sys
from typing import Self


class Watchdog:
    """Ends this process when `feed` was not called for so long; a context manager."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s

    def __enter__(self) -> Self:
        self.feed()
        return self

    def __exit__(self, *error: object) -> None:
        faulthandler.cancel_dump_traceback_later()

    def feed(self) -> None:
        """Give a sign of life: the patience begins anew."""
        # The interpreter's own stream: whatever took the place of sys.stderr may have no file.
        stream = sys.__stderr__
        if stream is not None:
            faulthandler.dump_traceback_later(self._patience_s, exit=True, file=stream)
