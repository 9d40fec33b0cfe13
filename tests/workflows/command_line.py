"""What a command of lavaflow leaves behind, run in this process."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from workflows.cli import main


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    returncode: int
    stdout: str
    stderr: str


Lavaflow = Callable[..., Result]

CALLERS_ADDRESSES = ("LAVAFLOW_HOME", "LAVAFLOW_STORE", "MLFLOW_TRACKING_URI", "RAY_ADDRESS")
"""Variables of whoever runs the tests that would lead a command astray."""


def run_here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str | Path
) -> Result:
    """Run `lavaflow WORDS` to its end."""
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", ["lavaflow", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    captured = capsys.readouterr()
    return Result(int(ended.value.code or 0), captured.out, captured.err)
