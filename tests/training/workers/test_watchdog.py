"""A process that hangs ends by itself and says where; one that is alive does not."""

import subprocess
import sys

PROGRAM = """
import threading, time
from components.training.workers.watchdog import Watchdog

def waits_for_ever():
    threading.Event().wait()

with Watchdog({patience}) as watchdog:
    for _ in range(5):
        time.sleep(0.1)
        watchdog.feed()
    if {hangs}:
        waits_for_ever()
time.sleep(2 * {patience})
print("done")
"""


def run(patience, hangs):
    # Patience long beside the signs of life (0.1 s), so that a busy machine's pauses do not count.
    code = PROGRAM.format(patience=patience, hangs=hangs)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


def test_a_hang_ends_the_process_with_its_stacks():
    done = run(2.0, True)
    assert done.returncode == 1
    assert "waits_for_ever" in done.stderr
    assert "Timeout" in done.stderr
    assert not done.stdout


def test_signs_of_life_and_the_end_stop_the_clock():
    done = run(2.0, False)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "done", "")
