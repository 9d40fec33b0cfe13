"""The Ray cluster a command works on: found, started, kept, stopped; and the code it is given.

In: an address, or none. Out: a connected Ray. Without an address a local cluster starts that lives
as long as this process; a *kept* cluster is a local one in a process of its own, for a service that
stays up, and is described by a small state file. Several local clusters live side by side: Ray
picks free ports for each, and nothing here ends a process that it did not start.
"""

import contextlib
import json
import logging
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from components.core.errors import ClusterError
from workflows.cluster.ray_internals import quiet_token_advice, use_token
from workflows.cluster.source_tree import project_root

log = logging.getLogger(__name__)

NAMESPACE = "lavaflow"
OBJECT_STORE_BYTES = 512 * 2**20
"""Object store of a local cluster. Artifacts travel through the store on disk, hardly through Ray;
Ray's default is 30% of the machine's memory.
"""
START_TIMEOUT_S = 120
STOP_TIMEOUT_S = 20

QUIET_RAY = {
    "RAY_USAGE_STATS_ENABLED": "0",  # nothing is reported to anybody
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # silences a warning on machines without a GPU
    "RAY_worker_niceness": "0",  # 15 by default: on a laptop anything else would starve training
    "RAY_SCHEDULER_EVENTS": "0",  # no autoscaler lines in our output
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # `uv run` would rebuild it per worker
    # A warning, in yellow, of what is meant: steps and actors reserve fractions of a processor.
    "RAY_DEDUP_LOGS_SKIP_REGEX": "PYTHON worker processes have been started",
}
"""Switches of Ray that a local cluster starts with, unless the user has set them."""


def ensure_cluster(
    address: "str | KeptCluster | None" = None,
    *,
    num_cpus: int | None = None,
    env_vars: Mapping[str, str] | None = None,
    verbose: bool = False,
) -> str:
    """Connect to Ray and return the cluster's address; a process that is connected stays so.

    `None` starts a local cluster that ends with this process. `"auto"` is the cluster that this
    machine (or this Ray job) belongs to, `"HOST:PORT"` a given one; those are handed our code and
    `env_vars`. A kept cluster was started from this checkout and this environment, so it is handed
    nothing. Raises ClusterError when nothing answers or versions differ.
    """
    if address is None:
        _prepare_environment()  # first: some of it is read when Ray is imported
    import ray

    if not ray.is_initialized():
        options: dict[str, Any] = {
            "namespace": NAMESPACE,
            "log_to_driver": verbose,
            "logging_level": logging.INFO if verbose else logging.ERROR,
        }
        if address is None:
            _start_local(options, num_cpus)
        elif isinstance(address, KeptCluster):
            _connect(address.address, options)
        else:
            _connect_with_code(address, options, env_vars or {})
    return str(ray.get_runtime_context().gcs_address)


def _start_local(options: dict[str, Any], num_cpus: int | None) -> None:
    _prepare_environment()
    import ray

    quiet_token_advice()
    try:
        ray.init(
            address="local",
            num_cpus=num_cpus or max(2, os.cpu_count() or 1),
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            **options,
        )
    except Exception as error:
        # Ray raises a bare Exception when its processes do not come up in time.
        raise ClusterError(
            f"a local Ray cluster could not be started: {error}. Is the machine very busy, or "
            "/tmp full?"
        ) from error


def _prepare_environment() -> None:
    """Set what Ray's processes inherit from this one."""
    for name, value in QUIET_RAY.items():
        os.environ.setdefault(name, value)
    root = project_root()
    if root is not None:
        # Workers import the sources that this process runs, installed or not.
        parts = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        if str(root) not in parts:
            os.environ["PYTHONPATH"] = os.pathsep.join([str(root), *filter(None, parts)])


def _connect_with_code(address: str, options: dict[str, Any], env_vars: Mapping[str, str]) -> None:
    from workflows.cluster.source_tree import runtime_environment

    if "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ:
        # A Ray job has its environment already, and Ray refuses a second one.
        _connect(address, options)
        return
    with runtime_environment(env_vars) as environment:
        _connect(address, {**options, "runtime_env": environment})


def _connect(address: str, options: dict[str, Any]) -> None:
    import ray

    if address.startswith(("http://", "https://", "ray://")):
        raise ClusterError(
            f"{address} is not the address of a cluster's control service; expected HOST:PORT or "
            "auto. "
            "An http:// address takes jobs: use it with `lavaflow submit`"
        )
    if address != "auto":
        _check_listening(address)
    use_token()
    try:
        ray.init(address=address, **options)
    except ConnectionError as error:
        raise ClusterError(
            f"no Ray cluster answers at {address!r} ({error}); start one with `ray start "
            "--head`, or leave "
            "--address out for a local cluster"
        ) from error
    except (ray.exceptions.RayError, RuntimeError, ValueError) as error:
        raise ClusterError(f"the Ray cluster at {address!r} refuses: {error}") from error


def _check_listening(address: str) -> None:
    """Fail in a second where Ray itself would try for a minute."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ClusterError(
            f"address {address!r}; expected HOST:PORT such as 10.0.0.5:6379, or auto"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except OSError as error:
        raise ClusterError(
            f"nothing answers at {address} ({error}); start the cluster there with `ray start "
            "--head`, "
            "or leave --address out for a local one"
        ) from error


@dataclass(frozen=True)
class KeptCluster:
    """A local cluster in a process of its own; `started` tells it from a later one of that id."""

    address: str
    pid: int
    started: float


def kept_cluster(state_file: Path) -> KeptCluster | None:
    """Return the kept cluster that runs, or None; a stale state file is removed."""
    try:
        state = KeptCluster(**json.loads(state_file.read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        log.warning("%s cannot be read (%s); it is removed", state_file, error)
        state_file.unlink(missing_ok=True)
        return None
    if _process(state) is None:
        log.info("The cluster of %s has ended; the file is removed", state_file)
        state_file.unlink(missing_ok=True)
        return None
    return state


def keep_cluster(state_file: Path, num_cpus: int | None = None) -> KeptCluster:
    """Return the kept cluster, starting one if none runs. It outlives this process."""
    running = kept_cluster(state_file)
    if running is not None:
        return running
    _prepare_environment()
    state_file.parent.mkdir(parents=True, exist_ok=True)
    log_path = state_file.with_suffix(".log")
    command = [sys.executable, "-m", "workflows.cluster.host", str(state_file), str(num_cpus or 0)]
    with log_path.open("w") as output:
        # A session of its own: neither Ctrl-C here nor the end of this terminal reaches it.
        host = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    end = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < end:
        state = kept_cluster(state_file)
        # Another process may have been faster: then its cluster is the kept one, and our host ends.
        if state is not None:
            return state
        if host.poll() is not None:
            break
        time.sleep(0.1)
    host.terminate()
    tail = "\n".join(log_path.read_text(errors="replace").splitlines()[-5:])
    raise ClusterError(f"a local cluster could not be started; {log_path} ends with:\n{tail}")


def stop_kept_cluster(state_file: Path) -> bool:
    """End the kept cluster, and only it; returns whether one ran."""
    import psutil

    state = kept_cluster(state_file)
    host = _process(state) if state else None
    if host is None:
        return False
    # Taken first: once the host is gone its orphans cannot be told from others' processes.
    family = [host, *host.children(recursive=True)]
    host.terminate()
    _, left = psutil.wait_procs(family, timeout=STOP_TIMEOUT_S)
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=5)
    state_file.unlink(missing_ok=True)
    return True


def host_cluster(state_file: Path, num_cpus: int | None) -> None:
    """Be the process of a kept cluster: start it, write the state file, wait for the end."""
    import signal
    import threading

    import psutil
    import ray

    stop = threading.Event()
    options = {"namespace": NAMESPACE, "log_to_driver": False, "logging_level": logging.WARNING}
    _start_local(options, num_cpus)
    # After ray.init, which installs handlers of its own.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    process = psutil.Process()
    state = KeptCluster(ray.get_runtime_context().gcs_address, process.pid, process.create_time())
    if not _claim(state_file, state):
        ray.shutdown()
        return
    while not stop.wait(1.0):
        # The file is our leash: whoever removes it (or the home folder) has forgotten us.
        if not _owns(state_file, state):
            break
    if _owns(state_file, state):
        state_file.unlink(missing_ok=True)
    ray.shutdown()


def _claim(state_file: Path, state: KeptCluster) -> bool:
    """Write the state file at once and whole, unless another host was faster."""
    with tempfile.NamedTemporaryFile(
        "w", dir=state_file.parent, prefix=state_file.name, delete=False
    ) as file:
        json.dump(asdict(state), file)
    draft = Path(file.name)
    try:
        os.link(draft, state_file)
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    return True


def _owns(state_file: Path, state: KeptCluster) -> bool:
    try:
        return bool(json.loads(state_file.read_text())["pid"] == state.pid)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _process(state: KeptCluster) -> Any:
    """The living process of a state, or None; a process id alone may have been given away again."""
    import psutil

    try:
        process = psutil.Process(state.pid)
        same = abs(process.create_time() - state.started) < 2
        return process if same and process.status() != psutil.STATUS_ZOMBIE else None
    except psutil.Error:
        return None
