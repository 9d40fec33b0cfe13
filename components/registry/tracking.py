"""The MLflow mirror of a pipeline run: a parent run, a nested run per step, metrics while they
come.

In: calls of the step layer, from any thread. Out: runs in MLflow. The calls only put an entry in a
queue; one thread writes the entries in order, so a slow or absent server never holds up a step.
It does not decide anything: the store is the truth, MLflow the index.

When the server goes away in the middle of a run, entries wait, one warning is given, and
writing resumes when the server does. An address at which nothing answers at the start is a user's
mistake and raises. What could not be written by the end of the run is told and given up.
"""

import contextlib
import functools
import logging
import queue
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path
from typing import Any, Literal

from components.core.errors import LavaflowError
from components.registry import connection
from components.registry.run_writer import MetricPoint, RunWriter

log = logging.getLogger(__name__)

Status = Literal["ok", "failed", "interrupted"]

METRIC_WINDOW_S = 0.5  # metrics wait at most this long to be written in one request
FIRST_RETRY_S = 0.5
LONGEST_RETRY_S = 30.0
ARTIFACT_LIMIT_BYTES = 64 * 2**20  # MLflow is an index: large outputs stay in the store


class MlflowTracker:
    """Writes pipeline runs to MLflow in the background. One object per pipeline run."""

    def __init__(
        self,
        tracking_uri: str,
        experiment: str = "lavaflow",
        *,
        start_timeout_s: float = 300.0,
        finish_timeout_s: float = 20.0,
    ) -> None:
        self.tracking_uri = tracking_uri
        self.experiment = experiment
        self._start_timeout_s = start_timeout_s
        self._finish_timeout_s = finish_timeout_s
        self._writer = RunWriter(tracking_uri, experiment)
        self._entries: queue.Queue[_Entry] = queue.Queue()
        self._run_ids: dict[str, Future[str]] = {}
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._given_up = threading.Event()
        self._away = False
        self._last_write = 0.0

    def warm_up(self) -> None:
        """Start to import MLflow and open the address in the background (1 to 4 s)."""
        # What goes wrong here goes wrong again in start_run, which tells it.
        self._put("opening", self._writer.open, raises=True)

    def start_run(self, name: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        """Create the parent run of a pipeline run and return its id.

        Raises RegistryError when the address is wrong or nothing answers there.
        """
        arguments = (name, dict(params), dict(tags))
        done: Future[str] = self._put(
            "starting the run", lambda: self._writer.start_run(*arguments), raises=True
        )
        try:
            return done.result(self._start_timeout_s)
        except FutureTimeout:
            address = connection.hide_password(self.tracking_uri)
            raise connection.Unreachable(
                f"MLflow at {address} took more than {self._start_timeout_s:.0f} s to start a run; "
                "check the server, or use a local database: sqlite:////ABSOLUTE/PATH/mlflow.db"
            ) from None

    def start_step(
        self, step: str, key: str, params: Mapping[str, Any], inputs: Mapping[str, str]
    ) -> None:
        """Open the nested run of a step; an unfinished run of the same key is continued."""
        arguments = (step, key, dict(params), dict(inputs))
        self._run_ids[step] = self._put(
            f"starting step {step}", lambda: self._writer.start_step(*arguments)
        )

    def log_metrics(self, step: str, metrics: Mapping[str, float], at: int | None) -> None:
        """Append metrics at a training step; values at or before the last logged step are dropped.

        `at=None` is for values without a course, such as final scores: the newest stands.
        """
        now_ms = int(time.time() * 1000)
        points = [
            MetricPoint(step, name, float(value), at, now_ms) for name, value in metrics.items()
        ]
        self._put(f"metrics of {step}", points=points)

    def log_artifact(self, step: str, path: str | Path, name: str) -> None:
        """Copy a small file or folder into a step's run; the original may be removed afterwards."""
        copy = _copy_aside(Path(path), name)
        if copy is not None:
            self._put(
                f"artifact {name} of {step}", lambda: self._writer.log_artifact(step, copy, name)
            )

    def finish_step(self, step: str, status: Status, outputs: Mapping[str, str]) -> None:
        """Close a step's run as FINISHED, FAILED or KILLED and tag what it made."""
        values = dict(outputs)
        self._put(f"finishing step {step}", lambda: self._writer.finish_step(step, status, values))

    def cached_step(self, step: str, key: str, made_by: str) -> None:
        """Show a step that was not run: a nested run that points to its maker, with its results."""
        self._run_ids[step] = self._put(
            f"cached step {step}", lambda: self._writer.cached_step(step, key, made_by)
        )

    def finish_run(self, status: Status) -> None:
        """Close the parent run and wait until everything is written, within `finish_timeout_s`."""
        self._put("finishing the run", lambda: self._writer.finish_run(status))
        self.flush(self._finish_timeout_s)

    def step_run_id(self, step: str) -> str:
        """Return the MLflow run id of a step that was started; empty while the server is away."""
        future = self._run_ids.get(step)
        if future is None:
            return ""
        try:
            return future.result(0.0 if self._away else self._finish_timeout_s)
        except (FutureTimeout, LavaflowError):
            return ""

    @property
    def run_id(self) -> str:
        """The parent run's id, empty before `start_run`."""
        return self._writer.run_id

    def flush(self, timeout_s: float | None = None) -> bool:
        """Wait until all entries so far are written; True when they are.

        When nothing could be written for `timeout_s`, tells how many entries are lost, drops them
        and returns False.
        """
        done: Future[Any] = self._put("flushing", lambda: "")
        self._last_write = time.monotonic()
        while not self._given_up.is_set():
            left = None if timeout_s is None else self._last_write + timeout_s - time.monotonic()
            try:
                done.result(left)
                return True
            except FutureTimeout:
                # A slow server may take its time as long as entries arrive there.
                if self._last_write + (timeout_s or 0.0) > time.monotonic():
                    continue
            self._given_up.set()
            log.warning(
                "MLflow at %s did not answer within %.0f s: %d entries of this run are missing "
                "there. The results in the store are complete.",
                connection.hide_password(self.tracking_uri),
                timeout_s or 0.0,
                self._entries.qsize() + 1,
            )
        return False

    def _put(
        self,
        doing: str,
        write: Callable[[], Any] | None = None,
        *,
        points: list[MetricPoint] | None = None,
        raises: bool = False,
    ) -> Future[Any]:
        entry = _Entry(doing, write, points or [], raises)
        self._entries.put(entry)
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._write_entries, name="mlflow-writer", daemon=True
                )
                self._thread.start()
        return entry.done

    def _write_entries(self) -> None:
        while not self._given_up.is_set():
            entry = self._entries.get()
            entries = [entry]
            if entry.points:
                entries += self._more_metrics()
            points = [point for each in entries for point in each.points]
            if points:
                self._write(
                    _Entry(entry.doing, functools.partial(self._writer.log_metrics, points))
                )
            for each in entries:
                if each.write is not None:
                    self._write(each)
                elif not each.done.done():
                    each.done.set_result(None)

    def _more_metrics(self) -> list["_Entry"]:
        """Collect what comes within the window; stops after the first entry that is not metrics."""
        entries: list[_Entry] = []
        deadline = time.monotonic() + METRIC_WINDOW_S
        with contextlib.suppress(queue.Empty):
            while (left := deadline - time.monotonic()) > 0:
                entries.append(self._entries.get(timeout=left))
                if not entries[-1].points:
                    break
        return entries

    def _write(self, entry: "_Entry") -> None:
        wait_s = FIRST_RETRY_S
        while not self._given_up.is_set():
            try:
                assert entry.write is not None
                entry.done.set_result(entry.write())
                self._last_write = time.monotonic()
                if self._away:
                    log.info("MLflow answers again; the waiting entries are being written")
                self._away = False
                return
                # Whatever goes wrong in the mirror must not end the pipeline: it is told, once.
            except Exception as error:  # noqa: BLE001
                problem = connection.readable(error, self.tracking_uri, entry.doing)
                if entry.raises or not connection.is_passing(error):
                    entry.done.set_exception(problem)
                    if not entry.raises:
                        log.warning("Not recorded in MLflow: %s", problem)
                    return
                if not self._away:
                    log.warning("%s. The run goes on; its records wait and are sent later", problem)
                self._away = True
                self._given_up.wait(wait_s)
                wait_s = min(wait_s * 2, LONGEST_RETRY_S)


class _Entry:
    """One thing to write, in order."""

    def __init__(
        self,
        doing: str,
        write: Callable[[], Any] | None = None,
        points: list[MetricPoint] | None = None,
        raises: bool = False,
    ) -> None:
        self.doing = doing
        self.write = write
        self.points = points or []
        self.raises = raises
        self.done: Future[Any] = Future()


def _copy_aside(path: Path, name: str) -> Path | None:
    """Copy now, because the step may publish and move its folder before the writer gets to it."""
    size = sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")))
    if size > ARTIFACT_LIMIT_BYTES:
        log.warning(
            "%s is %.0f MiB and is not copied to MLflow (limit %.0f MiB); it stays in the store",
            path,
            size / 2**20,
            ARTIFACT_LIMIT_BYTES / 2**20,
        )
        return None
    copy = Path(tempfile.mkdtemp(prefix="lavaflow-")) / Path(name).name
    if path.is_dir():
        shutil.copytree(path, copy)
    else:
        shutil.copyfile(path, copy)
    return copy
