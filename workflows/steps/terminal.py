"""A chain on the terminal: one line per step, progress and live numbers on those that run.

In: the events of a chain. Out: lines on a rich console. Without a terminal (a log file, a Ray job)
each event is one line of plain text with the time of day, live numbers now and then.
"""

import time
from dataclasses import dataclass, field

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table

from components.core.logs import format_duration, open_console
from workflows.steps.observer import Observer
from workflows.steps.state.layout import StepFolder

# Without a terminal, live numbers of a step are printed this often.
METRICS_EVERY_S = 20.0

# Numbers that say most about a running step come first on its line.
PREFERRED = ("loss", "score", "samples_per_s", "tokens_per_s", "per_s")
MAX_SHOWN = 3
# What a line begins with: a step ran, was found, has something to say, failed; or it runs.
MARKS = {"+": "green", "=": "cyan", "!": "yellow", "x": "red", " ": "none"}
BAR_WIDTH = 20


@dataclass
class _Line:
    """A step that runs or waits."""

    text: str
    since: float = field(default_factory=time.monotonic)
    numbers: str = ""
    reported: float = field(default_factory=time.monotonic)
    done: int = 0
    total: int = 0
    first: tuple[int, float] | None = None
    """Units done, and when, at the first word of progress: a resumed step does not start at 0."""

    def progressed(self, done: int, total: int) -> None:
        """Take the newest progress."""
        self.done, self.total = done, total
        if self.first is None:
            self.first = (done, time.monotonic())

    def left(self) -> str:
        """Time the rest will take at the speed so far; empty while there is none to judge by."""
        if self.first is None or self.done <= self.first[0] or self.done >= self.total:
            return ""
        elapsed_s = time.monotonic() - self.first[1]
        rest_s = elapsed_s * (self.total - self.done) / (self.done - self.first[0])
        return f"{format_duration(round(rest_s))} left"

    def details(self) -> str:
        """Numbers and time left, for a line of text."""
        return "  ".join(part for part in (self.numbers, self.left()) if part)


class TerminalObserver(Observer):
    """Shows the chain on a console."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or open_console(stderr=True)
        self._lines: dict[str, _Line] = {}
        self._width = 8
        self._live: Live | None = None

    def on_chain_started(self, run_name: str, steps: list[str]) -> None:
        """Open the live part where there is a terminal."""
        self._width = max([8, *map(len, steps)])
        if self._console.is_interactive:
            self._live = Live(console=self._console, get_renderable=self._table, transient=True)
            self._live.start()

    def on_hit(self, folder: StepFolder, reason: str, saved_s: float) -> None:
        """Say that the result was there."""
        self._lines.pop(folder.step, None)
        saves = f"saves {format_duration(saved_s)}"
        # The whole key, which `plan` and `status` show, would not fit into 80 characters.
        self._say(folder.step, f"{reason} ({folder.key[:8]}), {saves}", "=")

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
        self._say_now_and_then(step, line)

    def on_progress(self, step: str, done: int, total: int) -> None:
        """Move the step's bar."""
        line = self._lines.get(step)
        if line is None:
            return
        line.progressed(done, total)
        self._say_now_and_then(step, line)

    def on_note(self, step: str, text: str) -> None:
        """Print the sentence."""
        self._say(step, text, "!")

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

    def _say(self, step: str, text: str, mark: str = " ") -> None:
        clock = "" if self._console.is_interactive else f"{time.strftime('%H:%M:%S')} "
        name = escape(step.ljust(self._width))
        line = f"{clock}[{MARKS[mark]}]{mark}[/] {name}  {escape(text)}"
        self._console.print(line, highlight=False)

    def _say_now_and_then(self, step: str, line: _Line) -> None:
        """Where there is no terminal to redraw: a line, but not for each number."""
        if self._live is None and time.monotonic() - line.reported > METRICS_EVERY_S:
            line.reported = time.monotonic()
            count = f"{line.done} of {line.total}" if line.total else ""
            self._say_plain(step, "  ".join(part for part in (count, line.details()) if part))

    def _say_plain(self, step: str, text: str) -> None:
        if self._live is None:
            self._say(step, text)

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        now = time.monotonic()
        for step, line in list(self._lines.items()):
            clock = format_duration(round(now - line.since))
            table.add_row(
                f"> {step.ljust(self._width)}",
                ProgressBar(line.total, line.done, BAR_WIDTH) if line.total else line.text,
                clock,
                escape(line.details()),
            )
        return table


def _short(name: str) -> str:
    """Return a number's name without its first word, but for the loss of held-out rows."""
    return name if name.startswith("validation/") else name.rsplit("/", 1)[-1]


def _numbers_text(metrics: dict[str, float], at: int | None) -> str:
    def rank(name: str) -> int:
        # What stands last: the loss of a source, `train/loss/gqa`, is no loss of the step.
        last = name.rsplit("/", 1)[-1]
        return next((n for n, word in enumerate(PREFERRED) if word in last), len(PREFERRED))

    names = sorted(metrics, key=rank)[:MAX_SHOWN]
    numbers = "  ".join(f"{_short(name)} {_number(metrics[name])}" for name in names)
    return f"step {at}  {numbers}" if at is not None else numbers


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
