"""Checkpoints of a stage: when they are due, written beside training, published, found again.

In: snapshots in the memory of the host. Out: a folder of every rank's files in the run's storage,
or none, by way of Ray Train. A thread writes this rank's files to this machine's disk; once all
ranks have theirs they are reported, and Ray Train uploads them, again beside the training. One
checkpoint is under way at a time.
"""

import logging
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from components.core.errors import CheckpointError, StoreError
from components.core.store import Store, resolve
from components.core.store_faults import guarded
from components.training.checkpoints.checkpointing import (
    Copies,
    OtherRecipe,
    OwnPieces,
    Progress,
    SavedState,
    Snapshot,
    read,
    take_snapshot,
    write_snapshot,
)
from components.training.workers.job import FINAL, WorkerJob
from components.training.workers.preemption import PreemptionNotices
from components.training.workers.ranks import AcrossRanks

log = logging.getLogger(__name__)

_STORE_POLL_S = 5.0
_STEP = "step-"
"""How the names of the folders of checkpoints begin."""


class PendingCheckpoint:
    """A snapshot on its way to the disk, by the one thread of `writer`."""

    def __init__(
        self,
        writer: ThreadPoolExecutor,
        snapshot: Snapshot,
        folder: Path,
        fingerprint: str,
        rank: int,
        world_size: int,
    ) -> None:
        self.step = snapshot.progress.step
        self.folder = folder

        def write() -> None:
            # A full disk becomes a sentence that says so.
            guarded(
                str(folder),
                lambda: write_snapshot(snapshot, folder, fingerprint, rank, world_size),
            )

        self._future = writer.submit(write)

    @property
    def is_done(self) -> bool:
        """Whether it is written, or has failed (see `error`)."""
        return self._future.done()

    @property
    def error(self) -> BaseException | None:
        """What kept it from being written; waits until it is done."""
        return self._future.exception()


class StopRequest:
    """A file that appears, here or in a store, when a run is to stop."""

    def __init__(self, uri: str) -> None:
        self._store, self._path = resolve(uri)
        self._asked_at = -_STORE_POLL_S

    def is_made(self) -> bool:
        """Return whether the file is there; of a remote store this is asked now and then."""
        now = time.monotonic()
        if not self._store.is_local and now - self._asked_at < _STORE_POLL_S:
            return False
        self._asked_at = now
        try:
            return self._store.exists(self._path)
        except StoreError as error:
            log.debug("the stop request cannot be looked for: %s", error)
            return False


class StageCheckpoints:
    """The checkpoints of one rank's run; every rank calls everything alike."""

    def __init__(self, job: WorkerJob, ranks: AcrossRanks, scratch: Path, num_steps: int) -> None:
        self._job, self._ranks, self._scratch, self._num_steps = job, ranks, scratch, num_steps
        # Folders carry the attempt's name: files of a dead attempt never mix in.
        self._attempt = ranks.first(uuid.uuid4().hex[:8])
        self._pending: PendingCheckpoint | None = None
        self._began_at = time.monotonic()
        self._copies: Copies = {}
        # Kept alive: a thread that has yet to start would be waited for.
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._stop_request = None if job.stop_uri is None else StopRequest(job.stop_uri)
        # A single node is not taken away from under a run without the driver.
        self._notices = PreemptionNotices() if job.on_several_nodes else None

    def asked(self, step: int) -> Literal["", "save", "stop"]:
        """Return whether a checkpoint is due after this step, or the run to stop with one.

        The same on every rank.
        """
        config = self._job.config
        every, every_s = config.checkpoint_every_steps, config.checkpoint_every_s
        # An interval longer than the run would never save anything.
        by_step = bool(every) and step % min(every, max(1, self._num_steps // 2)) == 0
        by_time = stops = asks = False
        if every_s or self._stop_request is not None or self._notices is not None:
            # What one rank sees may differ from what another does: the first one's counts.
            first = self._ranks.rank == 0
            late = first and bool(every_s) and time.monotonic() - self._began_at >= every_s
            asked = first and self._stop_request is not None and self._stop_request.is_made()
            ask = first and self._notices is not None and self._notices.is_due()
            by_time, stops, asks = map(bool, self._ranks.sum([late, asked, ask]))
        taken = asks and self._notices is not None and self._notices.is_news()
        return "stop" if stops else "save" if by_step or by_time or taken else ""

    def begin(self, engine: OwnPieces, progress: Progress) -> None:
        """Copy this rank's state and let a thread write it; the one before must be published."""
        assert self._pending is None, "one checkpoint at a time"
        self._began_at = time.monotonic()
        snapshot = take_snapshot(engine, progress, self._copies)
        # That one is written, so its memory serves the next.
        self._copies = snapshot.copies
        folder = self._scratch / f"{_STEP}{snapshot.progress.step:08d}"
        self._pending = PendingCheckpoint(
            self._writer,
            snapshot,
            folder,
            self._job.fingerprint,
            self._ranks.rank,
            self._ranks.world_size,
        )

    def publish(self, wait: bool) -> Exception | None:
        """Publish the pending checkpoint once every rank has written its part: all files or none.

        With `wait` it is waited for, as before the next one and at the end. Returns the error that
        kept any rank from writing.
        """
        import ray.train

        pending = self._pending
        if pending is None:
            return None
        if not wait and self._ranks.sum([float(not pending.is_done)])[0]:
            return None
        error = pending.error
        if error is not None and not isinstance(error, Exception):
            raise error
        if (reason := self._ranks.agree(error)) is not None:
            return reason
        self._pending = None
        ray.train.report(
            {"step": pending.step, "num_steps": self._num_steps},
            checkpoint=ray.train.Checkpoint.from_directory(str(pending.folder)),
            checkpoint_dir_name=f"{_STEP}{pending.step:08d}-{self._attempt}",
            checkpoint_upload_mode=ray.train.CheckpointUploadMode.ASYNC,
            delete_local_checkpoint_after_upload=True,
        )
        return None


def latest_checkpoint(job: WorkerJob, scratch: Path) -> SavedState | None:
    """Return the newest checkpoint that is complete, passing over damaged ones with a warning.

    The folders of the run are looked at, not Ray Train's list of them: that is written after an
    upload, and not whole when a disk is full, so a kill in between would lose the newest or all.
    """
    store, run = resolve(job.run_uri)
    # What Ray Train deletes may leave an empty folder: on S3, the object that stands for it.
    names = [
        name for name in store.list(run) if name.startswith(_STEP) and store.list(f"{run}/{name}")
    ]
    for name in reversed(names):
        try:
            return read(_local_folder(store, f"{run}/{name}", scratch), job.fingerprint)
        except OtherRecipe:
            raise
        except CheckpointError as error:
            log.warning("checkpoint passed over: %s", error)
    if names:
        log.warning("no checkpoint of this run is complete; training starts at its first step")
    return None


def sweep(job: WorkerJob, resumed: SavedState | None) -> None:
    """Delete what died between its upload and Ray Train's list, which alone is counted and deleted.

    For one rank, when all ranks have found what they go on from.
    """
    import ray.train

    known = {Path(kept.checkpoint.path).name for kept in ray.train.get_all_reported_checkpoints()}
    known |= {resumed.folder.name} if resumed is not None else set()
    store, run = resolve(job.run_uri)
    try:
        for name in store.list(run):
            if name.startswith((_STEP, FINAL)) and name not in known:
                store.delete(f"{run}/{name}", recursive=True)
    except StoreError as error:
        log.warning("the remains of a killed attempt stay: %s", error)


def _local_folder(store: Store, path: str, scratch: Path) -> Path:
    """Return the checkpoint's folder on this machine, downloaded if it is remote."""
    if store.is_local:
        return Path(store.uri(path))
    local = scratch / Path(path).name
    store.download(path, local)
    return local
