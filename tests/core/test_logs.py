"""Log lines and progress, with and without a terminal."""

import io
import logging
import os
import pty
import sys
from collections.abc import Iterator

import pytest
from rich.console import Console

from components.core import logs
from components.core.logs import (
    format_bytes,
    format_duration,
    new_table,
    open_console,
    progress,
    setup_logging,
)


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """Leave the process's logging as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    # A command line that ran in this process writes to what is closed by now.
    root.handlers = [one for one in handlers if not hasattr(one, "of_lavaflow")]
    yield
    root.handlers, root.level = handlers, level


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.44, "0.4 s"),
        (12.3, "12 s"),
        (59.6, "1 min 00 s"),
        (200, "3 min 20 s"),
        (7500, "2 h 05 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1500, "1.5 kB"), (13e9, "13 GB"), (2e12, "2.0 TB")]
)
def test_sizes(count: float, text: str) -> None:
    assert format_bytes(count) == text


def test_a_console_in_a_pipe_prints_whole_lines_without_colours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    text, long = io.StringIO(), "many words " * 50
    monkeypatch.setattr(sys, "stdout", text)
    console = open_console()
    console.print(f"[red]{long}[/]")
    table = new_table("Table")
    table.add_column("first")
    table.add_column("second")
    table.add_row("1", long)
    console.print(table)
    lines = [line.rstrip() for line in text.getvalue().splitlines()]
    assert lines[0] == long.rstrip()
    assert lines[1] == "Table"
    assert lines[-2].split(maxsplit=1) == ["1", long.rstrip()]
    assert "\x1b" not in text.getvalue()
    assert not console.is_interactive


def test_a_forced_colour_in_a_pipe_redraws_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with progress("Drawing scenes", total=4) as advance:
        advance(4)
    assert sys.stderr.getvalue() == ""  # type: ignore[attr-defined]


def test_a_console_on_a_terminal_is_as_wide_as_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        console = open_console()
        assert console.width == 80
        assert console.is_interactive
    os.close(ours)


def test_our_lines_show_and_libraries_stay_quiet() -> None:
    text = io.StringIO()
    for _ in range(2):
        setup_logging(console=Console(file=text))
    logging.getLogger("components.data").info("hello")
    logging.getLogger("somelibrary").info("noise")
    logging.getLogger("somelibrary").warning("trouble")
    assert text.getvalue().count("hello") == 1
    assert "noise" not in text.getvalue()
    assert "trouble" in text.getvalue()
    setup_logging(verbose=1, console=Console(file=text))
    logging.getLogger("somelibrary").info("noise")
    assert "noise" in text.getvalue()


def test_progress_without_a_terminal_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logs, "REPORT_EVERY_S", 0.0)
    caplog.set_level(logging.INFO)
    with progress("Drawing scenes", total=4, console=Console(file=io.StringIO())) as advance:
        advance(1)
        advance()
    assert caplog.messages[:2] == ["Drawing scenes: 1 of 4 (25%)", "Drawing scenes: 2 of 4 (50%)"]
    assert caplog.messages[2].startswith("Drawing scenes: 2 done in")


@pytest.mark.parametrize("total", [3, None])
def test_progress_on_a_terminal_is_a_bar(total: int | None) -> None:
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, width=80)
    with progress("Drawing scenes", total, console) as advance:
        advance(2)
    assert "Drawing scenes" in text.getvalue()
