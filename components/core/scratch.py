"""A process's folder on the disk of its machine, and an end to those of processes that were killed.

In: nothing. Out: an empty folder, deleted at the end. A process killed with -9 leaves its own, with
a model in it perhaps (14 GB of 7B): the next one on the machine that makes a folder deletes it. Who
lives is told by a lock, which the system frees with its process; process numbers would mean nothing
to containers that share the folder.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

PREFIX = "lavaflow-scratch-"
YOUNG_S = 60.0
"""Younger folders are let alone: their owners may be about to lock them."""


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """Make a folder for this process, after the folders of dead ones are deleted."""
    _sweep(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as folder:
        lock = os.open(folder, os.O_RDONLY)
        try:
            # Where a file system has no locks, a sweeper gets none either and deletes nothing.
            with contextlib.suppress(OSError):
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield Path(folder)
        finally:
            os.close(lock)


def _sweep(parent: Path) -> None:
    for folder in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # another user's, or somebody else is deleting it
            lock = os.open(folder, os.O_RDONLY)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if time.time() - folder.stat().st_mtime > YOUNG_S:
                    shutil.rmtree(folder)
            finally:
                os.close(lock)
