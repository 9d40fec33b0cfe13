"""Where the state of a step lies below the store: the paths of one (step, key), and nothing else.

{store}/{step}/pin.json                      keys that are kept although code changed
{store}/{step}/{key}/payload.json            what the key was made from (for `plan --explain`)
{store}/{step}/{key}/lease/00000007.json     who runs it now; the highest number counts
{store}/{step}/{key}/attempt-<id>/files/     the artifact's files, as the function wrote them
{store}/{step}/{key}/attempt-<id>/manifest.json
{store}/{step}/{key}/failures/attempt-<id>.txt
{store}/{step}/{key}/resume*/                what a restarted attempt continues from
{store}/{step}/{key}/superseded/attempt-<id>.json   records that a later one replaced
{store}/{step}/{key}/record.json             written last: its presence means "done"
"""

import re
import uuid
from dataclasses import dataclass

from components.core.errors import ConfigError

STEP_NAME = re.compile(r"^[a-z0-9][a-z0-9._-]*$")


@dataclass(frozen=True)
class StepFolder:
    """The paths of one key of one step, relative to the store's root."""

    step: str
    key: str

    @property
    def path(self) -> str:
        """Folder of the key."""
        return f"{self.step}/{self.key}"

    @property
    def record(self) -> str:
        """The record; its presence means that the step is done."""
        return f"{self.path}/record.json"

    @property
    def payload(self) -> str:
        """What the key was made from."""
        return f"{self.path}/payload.json"

    @property
    def leases(self) -> str:
        """Folder of the numbered leases."""
        return f"{self.path}/lease"

    @property
    def superseded(self) -> str:
        """Folder of replaced records."""
        return f"{self.path}/superseded"

    def files(self, attempt: str) -> str:
        """Folder of the artifact's files of an attempt."""
        return f"{self.path}/{attempt}/files"

    def manifest(self, attempt: str) -> str:
        """Manifest of an attempt's files."""
        return f"{self.path}/{attempt}/manifest.json"

    def logged(self, attempt: str, name: str) -> str:
        """A file that the function hands to the tracker."""
        return f"{self.path}/{attempt}/logged/{name}"

    def failure(self, attempt: str) -> str:
        """Why an attempt failed, with its traceback."""
        return f"{self.path}/failures/{attempt}.txt"

    def stop(self, resume_name: str) -> str:
        """A file that asks the running attempt to save what it has and stop."""
        return f"{self.path}/{resume_name}.stop"

    def resume(self, replaced_attempt: str | None) -> str:
        """Folder that survives attempts; a run that replaces an earlier result starts a new one."""
        return f"{self.path}/resume" + (f"-after-{replaced_attempt}" if replaced_attempt else "")


def new_attempt() -> str:
    """Return a name for an attempt that no other attempt has."""
    return f"attempt-{uuid.uuid4().hex[:12]}"


def pins_path(step: str) -> str:
    """Path of a step's pin file."""
    return f"{step}/pin.json"


def check_step_name(name: str) -> str:
    """Return the name; raises ConfigError when it cannot be a folder of the store."""
    if not STEP_NAME.match(name):
        raise ConfigError(
            f"step name {name!r}: use lower-case letters, digits, '-', '_' and '.', such as "
            "evaluate-pope"
        )
    return name
