"""The chain on the terminal: one line per step, with and without a terminal."""

import io
import time
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from components.core.errors import StepFailed
from workflows.steps import Chain
from workflows.steps.state.layout import StepFolder
from workflows.steps.terminal import TerminalObserver


def console(terminal: bool) -> tuple[Console, io.StringIO]:
    text = io.StringIO()
    return Console(file=text, force_terminal=terminal, width=100, color_system=None), text


@pytest.mark.parametrize("terminal", [False, True])
def test_lines_of_a_run_and_a_replay(make_chain: Callable[..., Chain], terminal: bool) -> None:
    screen, text = console(terminal)
    make_chain(observer=TerminalObserver(screen)).run()
    assert "+ source    done in" in text.getvalue()
    screen, text = console(terminal)
    make_chain(observer=TerminalObserver(screen)).run()
    assert text.getvalue().count("found in the store") == 4


def test_numbers_come_with_the_loss_first() -> None:
    screen, text = console(False)
    observer = TerminalObserver(screen)
    folder = StepFolder("pretrain", "abc")
    observer.on_chain_started("run", ["pretrain"])
    observer.on_started(folder, "no result yet", 1)
    sources = {"train/loss/gqa": 0.1, "train/loss/vqav2": 0.2}
    numbers = {"train/epoch": 1.0, "train/tokens_per_s": 12345.6, "train/loss": 0.123456} | sources
    observer.on_metrics("pretrain", numbers, 40)
    observer.on_finished(folder, 75.0, "/x")
    last = text.getvalue().splitlines()[-1]
    assert "done in 1 min 15 s  step 40  loss 0.1235  tokens_per_s 12,346" in last


def test_progress_is_a_bar_and_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [time.monotonic()]
    monkeypatch.setattr("workflows.steps.terminal.time.monotonic", lambda: now[0])
    screen, text = console(False)
    observer = TerminalObserver(screen)
    observer.on_started(StepFolder("finetune", "abc"), "no result yet", 1)
    observer.on_progress("finetune", 40, 120)  # resumed at step 40
    now[0] += 30.0
    observer.on_progress("finetune", 60, 120)
    assert text.getvalue().splitlines()[-1].endswith("60 of 120  1 min 30 s left")

    screen, text = console(True)
    observer = TerminalObserver(screen)
    observer.on_chain_started("run", ["finetune"])
    observer.on_started(StepFolder("finetune", "abc"), "no result yet", 1)
    observer.on_progress("finetune", 0, 4)
    now[0] += 60.0
    observer.on_progress("finetune", 3, 4)
    screen.print(observer._table())
    assert "━" * 15 in text.getvalue() and "20 s left" in text.getvalue()
    observer.on_chain_finished("ok", 60.0)


def test_markup_in_messages_is_text(make_chain: Callable[..., Chain], steps: Any) -> None:
    def fails(config: Any, inputs: Any, context: Any) -> Any:
        raise ValueError("[red]not markup[/]")

    screen, text = console(False)
    chain = make_chain(empty=True, observer=TerminalObserver(screen))
    chain.add("fails", fails)
    with pytest.raises(StepFailed, match=r"ValueError: \[red\]not markup"):
        chain.run()
    assert "x fails     failed after" in text.getvalue()


def test_a_found_result_is_told_in_80_characters() -> None:
    screen, text = console(True)
    observer = TerminalObserver(screen)
    observer.on_chain_started("run", ["evaluate-llava_bench"])
    observer.on_chain_finished("ok", 1.0)
    observer.on_hit(StepFolder("evaluate-llava_bench", "f" * 20), "found in the store", 4000.0)
    line = text.getvalue().splitlines()[-1]
    assert len(line) <= 80 and "ffffffff" in line and line.endswith("saves 1 h 06 min")
