"""Who runs a step: one driver process, described so that another driver can tell whether it lives.

In: the present process. Out: a plain record for leases and artifact records. A process id alone
says little: after a restart, or in another container, the same number is another process. So the
boot of the machine, the process-id namespace and the start time of the process are part of it.
"""

import contextlib
import getpass
import os
import platform
import socket
import sys
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Owner:
    """A driver process. `token` is unique to one chain run, so two runs of one process differ."""

    host: str
    machine: str
    """Boot and process-id namespace: equal means that `process` can be looked up here."""
    process: int
    process_start: str
    user: str
    command: str
    token: str

    @classmethod
    def of_this_process(cls) -> Self:
        """Return the description of the present process, with a new token."""
        return cls(
            host=socket.gethostname(),
            machine=machine_identity(),
            process=os.getpid(),
            process_start=process_start(os.getpid()),
            user=_user(),
            command=" ".join([Path(sys.argv[0]).name, *sys.argv[1:]])[:500],
            token=uuid.uuid4().hex,
        )

    def is_dead(self) -> bool:
        """Return True only when this process certainly runs no more: same machine, no such
        process.
        """
        if self.machine != machine_identity():
            return False
        return process_start(self.process) != self.process_start

    def to_json(self) -> dict[str, Any]:
        """Return the plain form."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.user}@{self.host} (process {self.process})"


def machine_identity() -> str:
    """Return an identity shared by exactly the processes that see each other's process ids."""
    try:
        boot = BOOT_ID.read_text().strip()
        namespace = Path("/proc/self/ns/pid").readlink().name
    except OSError:
        # No /proc (macOS): the network card's address is the best that the standard library knows.
        return f"{socket.gethostname()}-{uuid.getnode():x}"
    return f"{boot}-{namespace}"


def process_start(process: int) -> str:
    """Return the start time of a process in clock ticks since boot, `alive` without /proc, or
    ``.
    """
    if platform.system() == "Linux":
        with contextlib.suppress(OSError, IndexError):
            # The command name, in parentheses, may itself hold spaces and parentheses.
            fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
            # A zombie has ended, even though its parent did not ask about it yet.
            return "" if fields[0] in ("Z", "X") else fields[19]
        return ""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        pass
    return "alive"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container may run under a user id without a name.
        return str(os.getuid())
