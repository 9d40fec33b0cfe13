"""The command line in this process."""

from functools import partial
from pathlib import Path

import pytest

from tests.workflows.command_line import CALLERS_ADDRESSES, Lavaflow, run_here


@pytest.fixture
def lavaflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Lavaflow:
    """Run the command line in this process: torch is loaded once."""
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    monkeypatch.setenv("COLUMNS", "250")
    for name in CALLERS_ADDRESSES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)

    return partial(run_here, monkeypatch, capsys)
