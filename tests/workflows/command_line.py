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
