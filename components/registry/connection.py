"""One quiet, quick and safe way to reach MLflow.

In: a tracking address, `sqlite:///...` or `http(s)://...`. Out: an `MlflowClient` bound to that
address, or a RegistryError that says what to do. It does not use MLflow's process-wide state (the
fluent functions), so several addresses and threads can live in one process.

Measured on two shared cores (MLflow 3.17.2): importing MLflow 1.3 s, its SQL store another 0.9 s, a
new database 2.4 to 4.5 s, half of which is waiting for the disk once per migration. So everything
here is lazy, and a new database is built beside its place without waiting for the disk, then moved
in whole: 0.9 s, and a killed driver leaves no half-made database.
"""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar
from urllib.parse import urlsplit, urlunsplit

import tenacity

from components.core.errors import RegistryError
from components.registry import internals

if TYPE_CHECKING:
    from mlflow import MlflowClient

Given = ParamSpec("Given")
Result = TypeVar("Result")

PROBE_TIMEOUT_S = 5.0
LOCK_TIMEOUT_S = 120.0
# Each lost race means that somebody else's write went through.
RACE_TRIES = 5
SQLITE = "sqlite:///"

_clients: dict[str, "MlflowClient"] = {}
_clients_lock = threading.Lock()


def sqlite_uri(database_path: str | Path) -> str:
    """Return the tracking address of a database file, as an absolute path."""
    return f"{SQLITE}{Path(database_path).expanduser().resolve()}"


def database_path(tracking_uri: str) -> Path | None:
    """Return the file behind a `sqlite:///` address, None for any other address."""
    return Path(tracking_uri.removeprefix(SQLITE)) if tracking_uri.startswith(SQLITE) else None


def artifact_location(tracking_uri: str, experiment: str) -> str | None:
    """Return where an experiment's files go: beside a database; None: a server decides itself."""
    database = database_path(tracking_uri)
    return str(database.parent / "mlflow_artifacts" / experiment) if database else None


def connect(tracking_uri: str) -> "MlflowClient":
    """Return the client for an address; the database of a `sqlite:///` address is made if needed.

    Safe from several threads and processes at once. Raises RegistryError when the address is of
    an unsupported kind, the server does not answer, or the database cannot be made or opened.
    """
    with _clients_lock:
        if (client := _clients.get(tracking_uri)) is None:
            check_address(tracking_uri)
            client = _clients[tracking_uri] = _open(tracking_uri)
        return client


def check_address(tracking_uri: str) -> None:
    """Raise RegistryError unless the address is of a supported kind and something answers there."""
    if tracking_uri.startswith(("http://", "https://")):
        _probe(tracking_uri)
    elif "://" not in tracking_uri or tracking_uri.startswith("file:"):
        raise RegistryError(
            f"tracking address {tracking_uri!r} is a folder; MLflow has retired its file store: "
            "use sqlite:////ABSOLUTE/PATH/mlflow.db or http://HOST:PORT"
        )


def readable(error: Exception, tracking_uri: str, doing: str) -> RegistryError:
    """Turn an error of MLflow, its database or its transport into one sentence with the address."""
    if isinstance(error, RegistryError):
        return error
    address = hide_password(tracking_uri)
    if tracking_uri.startswith("http") and is_passing(error):
        return Unreachable(f"{doing}: no answer from the MLflow server at {address}")
    first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return RegistryError(f"{doing} failed at MLflow {address}: {first_line}")


def is_passing(error: Exception) -> bool:
    """Tell whether trying again later can help: no answer, overload, or a locked database."""
    from mlflow.exceptions import MlflowException

    if isinstance(error, RegistryError):
        return error.retryable
    if isinstance(error, MlflowException):
        code = getattr(error, "error_code", "")
        signs = internals.PASSING_SIGNS
        return code in internals.PASSING_CODES or any(sign in str(error) for sign in signs)
    return isinstance(error, OSError)  # requests' and urllib3's connection errors are OSErrors


def despite_races(write: Callable[Given, Result], *args: Given.args, **kw: Given.kwargs) -> Result:
    """Call a write of MLflow; again when somebody else wrote the same row at the same moment.

    MLflow looks for the row, then inserts what it did not find or changes what it found. Of two who
    insert, the database refuses one; what was deleted meanwhile cannot be changed. The next try
    looks again.
    """
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(_is_lost_race),
        stop=tenacity.stop_after_attempt(RACE_TRIES),
        reraise=True,
    )
    return retrying(write, *args, **kw)


def hide_password(uri: str) -> str:
    """Return the address without the password that may stand in it."""
    parts = urlsplit(uri)
    if not parts.password:
        return uri
    host = parts.netloc.rsplit("@", 1)[1]
    return urlunsplit(parts._replace(netloc=f"{parts.username}:***@{host}"))


class Unreachable(RegistryError):
    """Nothing answers at the tracking address at the moment."""

    retryable = True


def _is_lost_race(error: BaseException) -> bool:
    from mlflow.exceptions import MlflowException

    text = str(error).lower()
    return isinstance(error, MlflowException) and any(each in text for each in internals.RACE_SIGNS)


def _open(tracking_uri: str) -> "MlflowClient":
    internals.import_quietly()
    from mlflow import MlflowClient

    try:
        if (database := database_path(tracking_uri)) is not None:
            _ensure_database(database)
        client = MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)
        client.search_experiments(max_results=1)
        return client
    except RegistryError:
        raise
    except Exception as error:
        raise readable(error, tracking_uri, "opening") from error


def _probe(tracking_uri: str) -> None:
    """Ask once, so that a wrong address is told at once and in words."""
    import httpx

    address = hide_password(tracking_uri)
    try:
        httpx.get(f"{tracking_uri.rstrip('/')}/health", timeout=PROBE_TIMEOUT_S)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Unreachable(
            f"no MLflow server answers at {address} ({type(error).__name__}); start it "
            "(infra/mlflow/README.md), correct the address, or use a local database: "
            "sqlite:////ABSOLUTE/PATH/mlflow.db"
        ) from None


def _ensure_database(database: Path) -> None:
    from filelock import FileLock, Timeout

    try:
        database.parent.mkdir(parents=True, exist_ok=True)
        if database.exists():
            return
        lock = database.with_name(database.name + ".lock")
        with FileLock(lock, timeout=LOCK_TIMEOUT_S):
            if not database.exists():
                _build_database(database)
    except Timeout:
        raise RegistryError(
            f"another process has held {lock} for {LOCK_TIMEOUT_S:.0f} s while it creates the "
            "MLflow database; end that process and run again"
        ) from None
    except OSError as error:
        raise RegistryError(
            f"cannot create the MLflow database {database}: {error.strerror or error}; "
            "choose a folder that can be written"
        ) from error


def _build_database(database: Path) -> None:
    """Let MLflow create its tables in a file nobody else sees, then move that into place."""
    for leftover in database.parent.glob(database.name + ".new*"):
        leftover.unlink(missing_ok=True)
    draft = database.with_name(f"{database.name}.new{os.getpid()}")
    internals.create_tables(draft, database.parent / "mlflow_artifacts")
    with draft.open("rb+") as file:
        os.fsync(file.fileno())
    draft.replace(database)
