"""What a command of lavaflow leaves behind, run in this process."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    returncode: int
    stdout: str
    stderr: str


Lavaflow = Callable[..., Result]

CALLERS_ADDRESSES = ("LAVAFLOW_HOME", "LAVAFLOW_STORE", "MLFLOW_TRACKING_URI", "RAY_ADDRESS")
"""Variables of whoever runs the tests that would lead a command astray."""
