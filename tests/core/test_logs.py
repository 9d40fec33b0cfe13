"""Log lines and progress, with and without a terminal."""

import io
import logging
from collections.abc import Iterator

import pytest
from rich.console import Console

from components.core import logs
from components.core.logs import format_bytes, format_duration, progress, setup_logging


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """Leave the process's logging as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
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
