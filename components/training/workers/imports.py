"""Keeping out of a worker what other packages would import without needing it here.

Start-up is mostly imports, and every worker pays them: on two cores each CPU second saved per
worker is a second less to wait, at each stage.
"""

import contextlib
import importlib
import sys
import warnings
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


def import_transformers() -> None:
    """Import transformers without what is not needed, and silence notes meant for its authors."""
    # Its losses of object detection would import scipy.optimize (0.5 s); a LLaVA needs none.
    with hidden("scipy"):
        importlib.import_module("transformers.models.llava.modeling_llava")
        from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    # Torch renamed a function that DeepSpeed 0.19 calls by its old name.
    warnings.filterwarnings("ignore", message=".*is deprecated. Please use.*", module="torch")
