"""The command line in this process."""

import sys
from pathlib import Path

import pytest

from tests.workflows.command_line import CALLERS_ADDRESSES, Lavaflow, Result
from workflows.cli import main


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

    def run(*words: str | Path) -> Result:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["lavaflow", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return Result(int(ended.value.code or 0), captured.out, captured.err)

    return run
