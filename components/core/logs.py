"""Consoles, tables, logging and progress of long loops, on a terminal and without one.

In: a verbosity and descriptions. Out: log lines on stderr, progress bars where a terminal can show
them, else a log line now and then. Never prints results; that is the command line's part.
"""

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.logging import RichHandler
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

log = logging.getLogger(__name__)

# Wider than any line or table: whoever reads a file or a pipe wraps it, not its writer.
UNWRAPPED = 10_000

# Without a terminal a long loop reports this often.
REPORT_EVERY_S = 15.0

# Libraries whose INFO lines tell a user nothing.
QUIET = ("httpx", "httpcore", "urllib3", "botocore", "aiobotocore", "filelock", "fsspec", "s3fs")


def open_console(stderr: bool = False) -> Console:
    """Return a console on stdout or stderr: as wide as the terminal; in a file or a pipe nothing is
    wrapped, cut or redrawn.
    """
    terminal = (sys.stderr if stderr else sys.stdout).isatty()
    return Console(
        stderr=stderr,
        width=None if terminal else UNWRAPPED,
        force_interactive=None if terminal else False,
    )


def new_table(title: str, caption: str | None = None) -> Table:
    """Return an empty table in the one style of all: no frame, as little width as can be."""
    return Table(
        title=title,
        title_justify="left",
        caption=caption,
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )


def setup_logging(verbose: int = 0, console: Console | None = None) -> None:
    """Send log lines to stderr: warnings and our own INFO lines, with `verbose` everybody's, with 2
    DEBUG.

    Calling it again replaces the earlier set-up.
    """
    console = console or open_console(stderr=True)
    if console.is_interactive:
        handler: logging.Handler = RichHandler(
            console=console, show_path=False, show_level=verbose > 0, rich_tracebacks=False
        )
        handler.setFormatter(logging.Formatter("%(message)s"))
    else:
        handler = logging.StreamHandler(console.file)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    for old in [one for one in root.handlers if getattr(one, "of_lavaflow", False)]:
        root.removeHandler(old)
    handler.of_lavaflow = True  # type: ignore[attr-defined]
    root.addHandler(handler)
    root.setLevel(logging.INFO if verbose else logging.WARNING)
    for name in ("components", "workflows"):
        logging.getLogger(name).setLevel(logging.DEBUG if verbose > 1 else logging.INFO)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.INFO if verbose > 1 else logging.WARNING)


@contextlib.contextmanager
def progress(
    description: str, total: int | None = None, console: Console | None = None
) -> Iterator[Callable[..., None]]:
    """Yield `advance(count)`, which moves a bar on a terminal and writes a log line now and then
    elsewhere.
    """
    console = console or open_console(stderr=True)
    if console.is_interactive:
        with _bars(console, total is not None) as bars:
            task = bars.add_task(description, total=total)

            def advance(count: int = 1) -> None:
                bars.advance(task, count)

            yield advance
        return
    lines = _Lines(description, total)
    yield lines.advance
    lines.finish()


def format_duration(seconds: float) -> str:
    """Return a duration for people: `0.4 s`, `12 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def format_bytes(count: float) -> str:
    """Return a size for people: `512 B`, `1.5 MB`, `13 GB` (decimal units)."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 10 else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


class _Lines:
    """Progress of one loop as occasional log lines."""

    def __init__(self, description: str, total: int | None) -> None:
        self.description, self.total = description, total
        self.count = 0
        self.started = self.reported = time.monotonic()

    def advance(self, count: int = 1) -> None:
        self.count += count
        now = time.monotonic()
        if now - self.reported >= REPORT_EVERY_S:
            self.reported = now
            share = f" ({100 * self.count / self.total:.0f}%)" if self.total else ""
            of_total = f" of {self.total}" if self.total else ""
            log.info("%s: %d%s%s", self.description, self.count, of_total, share)

    def finish(self) -> None:
        seconds = time.monotonic() - self.started
        log.info("%s: %d done in %s", self.description, self.count, format_duration(seconds))


def _bars(console: Console, bounded: bool) -> Progress:
    columns = [
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    ]
    if bounded:
        columns.append(TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True)
