"""A chain on the terminal: one line per step, live numbers on the lines of running steps.

In: the events of a chain. Out: lines on a rich console. Without a terminal (a log file, a Ray job)
the same lines come as plain text, live numbers now and then.
"""

import time
from dataclasses import dataclass, field

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from components.core.logs import format_duration
from workflows.steps.layout import StepFolder
from workflows.steps.observer import Observer

# Without a terminal, live numbers of a step are printed this often.
METRICS_EVERY_S = 20.0

# Numbers that say most about a running step come first on its line.
PREFERRED = ("loss", "score", "per_s")
MAX_SHOWN = 3


@dataclass
class _Line:
    """A step that runs or waits."""

    text: str
    since: float = field(default_factory=time.monotonic)
    numbers: str = ""
    reported: float = field(default_factory=time.monotonic)


class TerminalObserver(Observer):
    """Shows the chain on a console."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._lines: dict[str, _Line] = {}
        self._width = 8
        self._live: Live | None = None

    def on_chain_started(self, run_name: str, steps: list[str]) -> None:
        """Open the live part where there is a terminal."""
        self._width = max([8, *map(len, steps)])
        if self._console.is_terminal:
            self._live = Live(console=self._console, get_renderable=self._table, transient=True)
            self._live.start()

    def on_hit(self, folder: StepFolder, reason: str, saved_s: float) -> None:
        """Say that the result was there."""
        self._lines.pop(folder.step, None)
        self._say(folder.step, f"{reason} ({folder.key}), saves {format_duration(saved_s)}", "=")

    def on_waiting(self, folder: StepFolder, holder: str) -> None:
        """Show whom the step waits for."""
        self._lines[folder.step] = _Line(f"waits for {holder}, who runs it")
        self._say_plain(folder.step, f"waits for {holder}, who runs it")

    def on_started(self, folder: StepFolder, reason: str, attempt_number: int) -> None:
        """Show the step as running."""
        again = f", attempt {attempt_number}" if attempt_number > 1 else ""
        self._lines[folder.step] = _Line(f"runs{again}")
        self._say_plain(folder.step, f"runs{again} ({reason})")

    def on_metrics(self, step: str, metrics: dict[str, float], at: int | None) -> None:
        """Show the newest numbers on the step's line."""
        line = self._lines.get(step)
        if line is None:
            return
        line.numbers = _numbers_text(metrics, at)
        if self._live is None and time.monotonic() - line.reported > METRICS_EVERY_S:
            line.reported = time.monotonic()
            self._say_plain(step, line.numbers)

    def on_finished(self, folder: StepFolder, seconds: float, uri: str) -> None:
        """Say how long it took and where the result lies."""
        line = self._lines.pop(folder.step, None)
        numbers = f"  {line.numbers}" if line is not None and line.numbers else ""
        self._say(folder.step, f"done in {format_duration(seconds)}{numbers}", "+")

    def on_retry(self, folder: StepFolder, error: str, delay_s: float, why: str) -> None:
        """Say what went wrong and when it is tried again."""
        self._lines.pop(folder.step, None)
        short = error.splitlines()[0] if error else "no message"
        self._say(folder.step, f"{short}; {why} in {format_duration(delay_s)}", "!")

    def on_failed(self, folder: StepFolder, error: str, seconds: float) -> None:
        """Say that it failed; the message itself comes with StepFailed."""
        self._lines.pop(folder.step, None)
        self._say(folder.step, f"failed after {format_duration(seconds)}", "x")

    def on_interrupted(self, step: str) -> None:
        """Say that it was stopped."""
        self._lines.pop(step, None)
        self._say(step, "stopped", "x")

    def on_chain_finished(self, status: str, seconds: float) -> None:
        """Close the live part."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        self._lines.clear()

    def _say(self, step: str, text: str, mark: str) -> None:
        colour = {"+": "green", "=": "cyan", "!": "yellow", "x": "red"}[mark]
        name = escape(step.ljust(self._width))
        self._console.print(f"[{colour}]{mark}[/] {name}  {escape(text)}", highlight=False)

    def _say_plain(self, step: str, text: str) -> None:
        if self._live is None:
            name = step.ljust(self._width)
            self._console.print(f"  {name}  {text}", highlight=False, markup=False)

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        now = time.monotonic()
        for step, line in list(self._lines.items()):
            clock = format_duration(round(now - line.since))
            table.add_row(f"> {step.ljust(self._width)}", line.text, clock, escape(line.numbers))
        return table


def _numbers_text(metrics: dict[str, float], at: int | None) -> str:
    def rank(name: str) -> int:
        for place, word in enumerate(PREFERRED):
            if word in name:
                return place
        return len(PREFERRED)

    names = sorted(metrics, key=rank)[:MAX_SHOWN]
    numbers = "  ".join(f"{name.rsplit('/', 1)[-1]} {metrics[name]:.4g}" for name in names)
    return f"step {at}  {numbers}" if at is not None else numbers
