"""What a killed worker leaves on the disk, and what a living one holds."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from components.core.scratch import YOUNG_S, scratch_folder

HOLD = """
from components.core.scratch import scratch_folder
with scratch_folder() as folder:
    (folder / "share").write_text("of a checkpoint")
    print(folder, flush=True)
    input()
"""


def holder(parent: Path) -> tuple[subprocess.Popen[str], Path]:
    """Start a process that holds a folder below `parent`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD],
        env={**os.environ, "TMPDIR": str(parent)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_folders_of_the_dead_are_deleted_and_those_of_the_living_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    dead, left = holder(tmp_path)
    living, held = holder(tmp_path)
    try:
        dead.kill()
        dead.wait()
        with scratch_folder():
            assert left.exists()  # as young as one that is about to be locked
        long_ago = left.stat().st_mtime - 2 * YOUNG_S
        for folder in (left, held):
            os.utime(folder, (long_ago, long_ago))
        with scratch_folder() as own:
            assert set(tmp_path.iterdir()) == {held, own}
        assert (held / "share").exists()
    finally:
        living.communicate("\n")
    assert not list(tmp_path.iterdir())
