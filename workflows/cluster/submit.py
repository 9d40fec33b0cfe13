"""A command of this project as a job on a Ray cluster: submitted, followed, its exit status.

In: the address of the head's dashboard (`http://HEAD:8265`) and the command's arguments. Out: the
exit status of the job, which is the exit status of the same command run at home. The job is the
same command line, run on the cluster with this checkout's code; the cluster's Python must have the
dependencies.
"""

import asyncio
import contextlib
import logging
import re
import shlex
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from components.core.errors import ClusterError
from workflows.cluster.ray_internals import quiet_job_client, use_token
from workflows.cluster.source_tree import runtime_environment

log = logging.getLogger(__name__)

DETACHED = 130
"""Exit status after Ctrl-C while following, as a shell gives it; the job itself goes on."""
POLL_S = 1.0
LOG_TAIL_CHARS = 4000

# The job must run with the Python that the cluster runs with. A head started as
# `.venv/bin/ray start` has another `python` on its PATH, or none. So the job asks its raylet, whose
# process id the parent of this shell knows; without /proc the PATH must do.
_FIND_PYTHON = (
    'lines() { tr "\\0" "\\n" < "/proc/$1/$2" 2>/dev/null; }; '
    'RAYLET=$(lines "$PPID" environ | sed -n "s/^RAY_RAYLET_PID=//p"); '
    'PY=$(lines "$RAYLET" cmdline | sed -n "s/^--python_worker_command=\\([^ ]*\\).*/\\1/p"); '
    '[ -x "$PY" ] || PY=python; '
)
_RAYS_OWN_LINES = ("Running entrypoint for job ", "Tailing logs until the job exits")
# A status of an answer, not three digits of the port in its address.
_DENIED = re.compile(r"(?<![:\d])40[13]\b|Unauthorized")

Write = Callable[[str], None]


def submit(
    recipe: str,
    overrides: Sequence[str],
    address: str,
    *,
    options: Sequence[str] = (),
    store: str | None = None,
    tracking_uri: str | None = None,
    env_vars: Mapping[str, str] | None = None,
    follow: bool = False,
    write: Write = print,
) -> int:
    """Run a recipe on the cluster at `address`, and return the exit status.

    `overrides` are KEY=VALUE of --set, `options` further options of `lavaflow run`. Without
    `follow` it returns 0 as soon as the job is accepted. Raises ClusterError when the head cannot
    be used.
    """
    arguments = ["run", recipe]
    for assignment in overrides:
        arguments += ["--set", assignment]
    arguments += [*options, "--address", "auto"]
    for option, value in (("--store", store), ("--tracking-uri", tracking_uri)):
        if value:
            _warn_if_only_here(option, value, address)
            arguments += [option, value]
    return run_remote(arguments, address, env_vars=env_vars, follow=follow, write=write)


def run_remote(
    arguments: Sequence[str],
    address: str,
    *,
    env_vars: Mapping[str, str] | None = None,
    follow: bool = True,
    write: Write = print,
) -> int:
    """Run `lavaflow ARGUMENTS` as a job on the cluster, and return its exit status.

    Ctrl-C while following leaves the job running and returns 130.
    """
    title = f"lavaflow {shlex.join(arguments)}"
    python_arguments = ["-m", "workflows.cli", *arguments]
    return run_python(
        python_arguments, address, title=title, env_vars=env_vars, follow=follow, write=write
    )


def run_python(
    arguments: Sequence[str],
    address: str,
    *,
    title: str,
    env_vars: Mapping[str, str] | None = None,
    follow: bool = True,
    write: Write = print,
) -> int:
    """Run the cluster's Python with these arguments and this checkout's code, as `run_remote`."""
    client = connect(address)
    entrypoint = f'{_FIND_PYTHON}exec "$PY" -u {shlex.join(arguments)}'
    with _job_errors(address), runtime_environment(env_vars) as environment:
        job_id = client.submit_job(
            entrypoint=entrypoint, runtime_env=environment, metadata={"command": title}
        )
    write(f"Job {job_id} on {_base(address)}: {title}")
    advice = (
        f"  follow: ray job logs --follow {job_id} --address {_base(address)}\n"
        f"  stop:   ray job stop {job_id} --address {_base(address)}"
    )
    if not follow:
        write(advice)
        return 0
    try:
        _follow(client, job_id, write)
    except KeyboardInterrupt:
        write(f"\nDetached; the job goes on.\n{advice}")
        return DETACHED
    return _exit_status(client, job_id, write)


def connect(address: str) -> Any:
    """Return Ray's job client for a head. Raises ClusterError when the address is wrong."""
    base = _base(address)
    parts = urlsplit(base)
    if parts.hostname is None or parts.scheme not in ("http", "https"):
        raise ClusterError(f"address {address!r}; expected http://HEAD:8265, the head's dashboard")
    try:
        port = parts.port or 8265
        socket.create_connection((parts.hostname, port), timeout=5).close()
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"nothing answers at {base} ({error}). Is the head up (`ray start --head`), its "
            "dashboard "
            "on that port (8265 by default, --dashboard-port) and open to this machine "
            "(--dashboard-host 0.0.0.0)?"
        ) from error
    from ray.job_submission import JobSubmissionClient

    quiet_job_client()
    use_token()

    with _job_errors(address):
        return JobSubmissionClient(base)


@contextlib.contextmanager
def _job_errors(address: str) -> Iterator[None]:
    """Turn what Ray and requests raise (wrong port, no token, broken line) into ClusterError."""
    import ray
    import requests

    try:
        yield
    except ray.exceptions.AuthenticationError as error:
        raise _refused(address) from error
    except (
        ConnectionError,
        RuntimeError,
        ValueError,
        requests.exceptions.RequestException,
    ) as error:
        text = str(error)
        if _DENIED.search(text):
            raise _refused(address) from error
        raise ClusterError(
            f"{_base(address)} does not take jobs: {text[:500]}. Expected the address of the "
            "head's "
            "dashboard, http://HEAD:8265 (6379 and 10001 are other services of the same head)"
        ) from error


def _refused(address: str) -> ClusterError:
    return ClusterError(
        f"{_base(address)} wants a token: copy the head's ~/.ray/auth_token here (`ray "
        "get-auth-token` "
        "prints it), or name it in RAY_AUTH_TOKEN_PATH"
    )


def _base(address: str) -> str:
    """The address with its scheme, and without a slash at the end."""
    full = address if "://" in address else f"http://{address}"
    return full.rstrip("/") if urlsplit(full).hostname else full


def _follow(client: Any, job_id: str, write: Write) -> None:
    """Pass the job's output on until the job ends, also over a line that breaks."""

    async def tail() -> None:
        async for text in client.tail_job_logs(job_id):
            lines = text.rstrip("\n").split("\n")
            kept = [line for line in lines if not _is_rays_own(line)]
            if kept:
                write("\n".join(kept))

    try:
        asyncio.run(tail())
    except (RuntimeError, OSError) as error:
        log.warning("The line to the job's output broke (%s); waiting for its end", error)
    while not client.get_job_status(job_id).is_terminal():
        time.sleep(POLL_S)


def _is_rays_own(line: str) -> bool:
    """Whether a line of a job's output tells about Ray's machinery and not about the job."""
    return line.startswith(_RAYS_OWN_LINES) or " job_manager.py:" in line


def _exit_status(client: Any, job_id: str, write: Write) -> int:
    """The exit status of a job that has ended, with advice where its log shows a known cause."""
    info = client.get_job_info(job_id)
    status = str(info.status.value)
    if status == "SUCCEEDED":
        return 0
    output = client.get_job_logs(job_id)[-LOG_TAIL_CHARS:]
    write(f"Job {job_id} ended: {status}. {_first_line(info.message)}")
    if "ModuleNotFoundError" in output or "not found" in _first_line(info.message):
        write(
            "The cluster's Python lacks a package. Every node needs the dependencies of this "
            "project: "
            "install it there (pip install -c constraints.txt -e .) or use its image, start the "
            "nodes from "
            "that environment, and submit again."
        )
    return int(info.driver_exit_code) if info.driver_exit_code else 1


def _first_line(message: str | None) -> str:
    return (message or "").strip().split("\n")[0][:300]


def _warn_if_only_here(option: str, value: str, address: str) -> None:
    """A path of this machine means another folder on the head, or none."""
    local = "://" not in value or value.startswith(("sqlite:///", "file://"))
    if local and not _is_this_machine(urlsplit(_base(address)).hostname or ""):
        log.warning(
            "%s %s is a path on this machine; on the cluster it names a folder there. Every node "
            "must see "
            "the same store: use s3://... and an http:// tracking server, or a shared disk",
            option,
            value,
        )


def _is_this_machine(host: str) -> bool:
    """Whether a name belongs to this machine; only its own addresses can be bound."""
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.bind(target)
    except OSError:
        return False
    return True
