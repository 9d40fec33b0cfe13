"""The allocator keeps what is freed; seen from the pages that a process must take anew."""

import platform
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
import torch
from components.evaluation.targets.allocation import keep_freed_memory

torch.set_num_threads(1)
if sys.argv[1] == "kept":
    assert keep_freed_memory()

def layer():
    states = torch.ones(64, 64 * 1024 // 4)  # 4 MiB
    return (states * 2).sum() + (states + 1).sum()

layer()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(40):
    layer()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")
def test_pages_are_taken_once() -> None:
    command = [sys.executable, "-c", SCRIPT]
    faults = {
        way: int(subprocess.run([*command, way], check=True, capture_output=True).stdout)
        for way in ("kept", "given back")
    }
    assert faults["kept"] < faults["given back"] / 2
