"""The step layer on real Ray clusters, each in a process tree of its own that a test may kill."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("chain_program.py")
ROOT = Path(__file__).parents[3]

pytestmark = [pytest.mark.ray, pytest.mark.slow]


class Driver:
    """One run of the program."""

    started: list[subprocess.Popen[str]] = []

    def __init__(self, folder: Path, mode: str) -> None:
        self.log = folder / "log.txt"
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        environment["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "0"
        # Ray gives its workers the lowest priority; a busy machine would starve them.
        environment["RAY_worker_niceness"] = "0"
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), str(folder / "store"), str(self.log), mode],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            cwd=folder,
        )
        self.started.append(self.process)

    def lines(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []

    def wait_for(self, line: str, times: int = 1, timeout_s: float = 240) -> None:
        end = time.monotonic() + timeout_s
        while self.lines().count(line) < times:
            assert self.process.poll() is None, self.process.communicate()[0]
            assert time.monotonic() < end, f"never saw {line!r}: {self.lines()}"
            time.sleep(0.05)

    def finish(self, timeout_s: float = 300) -> str:
        output, _ = self.process.communicate(timeout=timeout_s)
        return output


@pytest.fixture(autouse=True)
def nothing_left_running() -> Iterator[None]:
    """End what a failed test left; Ray's own processes end with their driver."""
    yield
    for process in Driver.started:
        if process.poll() is None:
            process.kill()
            process.communicate()
    Driver.started.clear()


def test_parallel_steps_live_metrics_and_a_crashing_worker(tmp_path: Path) -> None:
    driver = Driver(tmp_path, "parallel")
    output = driver.finish()
    assert driver.process.returncode == 0, output
    lines = driver.lines()
    for step in ("side-a", "side-b"):
        expected = [f"metrics {step} 0.25 at 3", f"metrics {step} 0.125 at 4"]
        assert [line for line in lines if line.startswith(f"metrics {step}")] == expected
        assert lines.index(expected[1]) < lines.index(f"tracker {step} ok")
    assert lines.count("crashes") == 2


def test_stopped_and_killed_drivers_are_gone_on_with_and_a_replay_needs_no_ray(
    tmp_path: Path,
) -> None:
    """One story, because starting Ray costs more than anything it does here."""
    stopped = Driver(tmp_path, "kill")
    stopped.wait_for("slow is in the middle")
    stopped.process.send_signal(signal.SIGTERM)  # Ctrl-C takes the same way
    output = stopped.finish()
    assert stopped.process.returncode == 130, output
    assert "tracker slow interrupted" in stopped.lines()
    slow = next((tmp_path / "store/slow").iterdir())
    assert not (slow / "record.json").exists()
    assert not list(slow.glob("attempt-*"))
    assert '"released": true' in next((slow / "lease").iterdir()).read_text()

    killed = Driver(tmp_path, "kill")
    killed.wait_for("slow is in the middle", times=2)
    assert killed.lines().count("slow resumed") == 1
    killed.process.send_signal(signal.SIGKILL)
    killed.finish()

    (tmp_path / "go").touch()
    again = Driver(tmp_path, "kill")
    # The dead process is seen: its lease, which lives for hours, is not waited for.
    again.wait_for("slow resumed", times=2)
    output = again.finish()
    assert again.process.returncode == 0, output
    assert "made ['first', 'slow']" in output
    assert again.lines().count("first") == 1
    assert again.lines().count("slow") == 3
    assert len(list(slow.glob("attempt-*"))) == 1, "the dead driver's files are gone"

    replay = Driver(tmp_path, "kill")
    assert "made ['first', 'slow']" in replay.finish()
    assert replay.lines().count("cluster") == 3
    assert replay.lines()[-1] == "replay without ray"


def test_two_drivers_at_once_run_each_step_once(tmp_path: Path) -> None:
    drivers = [Driver(tmp_path, "two") for _ in range(2)]
    outputs = [driver.finish() for driver in drivers]
    assert [driver.process.returncode for driver in drivers] == [0, 0], outputs
    assert all("made ['first', 'slow']" in output for output in outputs)
    lines = drivers[0].lines()
    assert (lines.count("first"), lines.count("slow")) == (1, 1)
