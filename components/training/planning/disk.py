"""The disk that a stage's checkpoints need, and a try to write: known before the first step.

In: the settings of a stage and its sizes. Out: bytes by place, or an error that says what lacks.
Not here: the memory of the GPUs (`memory.py`).
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from components.core.errors import ConfigError
from components.core.logs import format_bytes
from components.core.store import Store, resolve
from components.training.config import StageConfig

_STATE_BYTES = 12
"""Bytes per learning parameter in a checkpoint: the fp32 weight and Adam's two moments
(`checkpointing.KINDS`)."""


@dataclass(frozen=True)
class DiskNeed:
    """Bytes that a stage writes."""

    checkpoint: int
    """One checkpoint, the files of all workers together."""
    model: int
    """The finished model."""
    stored_checkpoints: int
    """Most checkpoints in the store at a time: those that are kept and the next one."""

    @property
    def store(self) -> int:
        """Most bytes in the store at a time."""
        return self.stored_checkpoints * self.checkpoint + self.model

    def machine(self, local_workers: int, num_workers: int) -> int:
        """Most bytes on the disk of a machine with some of the workers.

        A checkpoint of its workers waits there until it is in the store; the model after it.
        """
        return max(self.checkpoint * local_workers // num_workers, self.model)


def disk_need(config: StageConfig, num_learning: int, num_parameters: int) -> DiskNeed:
    """Return what a stage writes; one without an interval saves when it is told to stop."""
    regular = config.checkpoint_every_steps or config.checkpoint_every_s
    return DiskNeed(
        _STATE_BYTES * num_learning,
        (4 if config.precision == "fp32" else 2) * num_parameters,
        config.keep_checkpoints + 1 if regular else 1,
    )


def dry_save(
    need: DiskNeed, storage_uri: str, scratch: Path, local_workers: int, num_workers: int
) -> None:
    """Try to write where checkpoints go and look whether there is room for them.

    Asked on each machine before the first step. Raises StoreError where nothing can be written,
    ConfigError where the room lacks; nobody knows how much an object store has.
    """
    Store(storage_uri).check_writable()
    _check_room(scratch, need.machine(local_workers, num_workers), "set TMPDIR to a larger disk")
    store, _ = resolve(storage_uri)
    if store.is_local:
        _check_room(Path(storage_uri), need.store, "lower keep_checkpoints or use a larger disk")


def _check_room(path: Path, needed: int, advice: str) -> None:
    free = shutil.disk_usage(path).free
    if free < needed:
        raise ConfigError(
            f"{path}: checkpoints and the finished model need {format_bytes(needed)} here, "
            f"{format_bytes(free)} are free; {advice}"
        )
