"""Keeping out of a worker what other packages would import without needing it here.

Start-up is mostly imports, and every worker pays them: on two cores each CPU second saved per
worker is a second less to wait, at each stage.
"""

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def hidden(name: str) -> Iterator[None]:
    """Make importing package `name` fail inside the block, unless it is imported already."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # the import system's mark for "not there"
    try:
        yield
    finally:
        del sys.modules[name]
