"""What runs inside a step's Ray task: call the function, hash and upload its files, write the
manifest.

In: an Order. Out: Done with the typed artifact and the manifest's digest, or Failed with everything
that the driver needs to decide and to tell the user. The record itself is written by the driver,
which holds the lease.

Errors come back as values: exceptions of arbitrary libraries do not survive pickling reliably.
"""

import errno
import logging
import os
import socket
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from components.core import errors
from components.core.artifact import Artifact, build_manifest
from components.core.config import Config
from components.core.errors import ArtifactError, LavaflowError
from components.core.scratch import scratch_folder
from components.core.store import Store
from components.core.store_faults import translate
from workflows.steps.context import StepContext
from workflows.steps.identity.keys import artifact_digest
from workflows.steps.running.messages import Sink
from workflows.steps.state.layout import StepFolder
from workflows.steps.state.records import write_manifest

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Order:
    """One attempt of one step, as sent to its task."""

    function: Callable[..., Artifact]
    config: Config | None
    inputs: Mapping[str, Artifact | list[Artifact]]
    returns: type[Artifact]
    store: Store
    step: str
    key: str
    attempt: str
    resume_name: str
    run_id: str
    made_by: Mapping[str, str]
    sink: Sink


@dataclass(frozen=True)
class Done:
    """The function returned and its files are in the store."""

    artifact: Artifact
    digest: str
    seconds: float
    host: str


@dataclass(frozen=True)
class Failed:
    """The function raised."""

    kind: str
    message: str
    traceback: str
    retryable: bool
    seconds: float
    preempted: bool = False

    def to_error(self) -> LavaflowError:
        """Return the error of the project's tree that was raised, or LavaflowError for a foreign
        one.
        """
        kind = getattr(errors, self.kind, None)
        if isinstance(kind, type) and issubclass(kind, LavaflowError):
            return kind(self.message)
        return LavaflowError(f"{self.kind}: {self.message}" if self.message else self.kind)


def run_order(order: Order) -> Done | Failed:
    """Carry out one attempt; see the module's text."""
    started = time.monotonic()
    try:
        return _carry_out(order, started)
    except Exception as raised:  # noqa: BLE001 - becomes a value; the driver decides
        error = _readable(order, raised)
        return Failed(
            kind=type(error).__name__,
            message=str(error),
            traceback=traceback.format_exc(),
            retryable=is_retryable(error),
            seconds=time.monotonic() - started,
        )
    finally:
        order.sink.flush()


def is_retryable(error: BaseException) -> bool:
    """Return whether trying the step again can help: told by our own errors, true for a lost
    connection.
    """
    if isinstance(error, LavaflowError):
        return error.retryable
    return isinstance(error, ConnectionError | TimeoutError)


def _readable(order: Order, error: Exception) -> Exception:
    """Return the StoreError of a full disk, whatever library met it first; other errors
    unchanged.
    """
    full = os.strerror(errno.ENOSPC)
    if isinstance(error, LavaflowError) or (full not in str(error) and not _is_disk_error(error)):
        return error
    number = error.errno if isinstance(error, OSError) and error.errno else errno.ENOSPC
    return translate(order.store.uri(order.step), OSError(number, str(error)))


def _is_disk_error(error: Exception) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def _carry_out(order: Order, started: float) -> Done:
    files = StepFolder(order.step, order.key).files(order.attempt)
    if order.store.is_local:
        return _attempt(order, started, Path(order.store.uri(files)))
    with scratch_folder() as scratch:
        return _attempt(order, started, scratch / "files")


def _attempt(order: Order, started: float, output_path: Path) -> Done:
    """Call the function, and publish what it wrote below `output_path`."""
    folder = StepFolder(order.step, order.key)
    files = folder.files(order.attempt)
    output_path.mkdir(parents=True)
    context = StepContext(
        store=order.store,
        step=order.step,
        key=order.key,
        attempt=order.attempt,
        output_path=output_path,
        resume_name=order.resume_name,
        run_id=order.run_id,
        made_by=order.made_by,
        sink=order.sink,
    )
    log.info("step %s (%s) starts in process %d", order.step, order.key, os.getpid())
    body = order.function(order.config, dict(order.inputs), context)
    if not isinstance(body, order.returns):
        raise ArtifactError(
            f"step {order.step} returned a {type(body).__name__}, expected a "
            f"{order.returns.__name__}; correct the step function"
        )
    manifest = build_manifest(output_path)
    if not order.store.is_local:
        order.store.upload(output_path, files)
    write_manifest(
        order.store, folder, order.attempt, manifest.with_stamps(order.store.stamps(files))
    )
    return Done(
        artifact=body,
        digest=artifact_digest(body, manifest),
        seconds=time.monotonic() - started,
        host=socket.gethostname(),
    )
