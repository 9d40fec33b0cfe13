"""Keeps what libraries tell of themselves from a command's own lines.

In: the verbosity that logging was set up with. Out: nothing.
"""

import logging
import warnings


def quieten_transformers() -> None:
    """Keep its bars and warnings for --verbose."""
    if logging.getLogger().isEnabledFor(logging.INFO):
        return
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers")
