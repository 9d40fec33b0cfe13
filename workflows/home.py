"""Where a user's things are: the home folder, the store, the tracking server, the state of a kept
cluster.

The only place that reads environment variables for addresses. In: command-line options. Out: a
frozen `Home`. Everything below `workflows/` is handed plain addresses.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from components.core.errors import StoreError

HOME_VARIABLE = "LAVAFLOW_HOME"
STORE_VARIABLE = "LAVAFLOW_STORE"
TRACKING_VARIABLE = "MLFLOW_TRACKING_URI"
API_KEY_VARIABLE = "OPENAI_API_KEY"
"""The name that every client of such APIs goes by."""

# Named in one place: what a worker on another node needs to reach the store and the tracking
# server. Values are handed on by Ray's runtime environment, and never written into records, keys or
# logs.
SECRET_VARIABLES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    API_KEY_VARIABLE,
)


@dataclass(frozen=True)
class Home:
    """The addresses of one user's pipeline."""

    path: Path
    """Local folder for what belongs to this machine: the kept cluster's state, logs, default store.
    """
    store_uri: str
    """Root of the artifacts: a local folder or an `s3://` address."""
    tracking_uri: str
    """MLflow: `sqlite:///FILE` or `http(s)://HOST:PORT`."""

    @property
    def cluster_file(self) -> Path:
        """State of the cluster that `--keep` or `deploy` left running on this machine."""
        return self.path / "cluster.json"

    @property
    def default_addresses(self) -> bool:
        """Whether store and registry are the ones below the home folder."""
        return self.store_uri == str(self.path / "store")


def open_home(
    home: str | None = None, store: str | None = None, tracking: str | None = None
) -> Home:
    """Resolve the addresses from options, then environment variables, then defaults below
    `.lavaflow/`.

    Local paths become absolute, because workers run in other folders.

    """
    path = Path(home or os.environ.get(HOME_VARIABLE) or ".lavaflow").expanduser().resolve()
    store_uri = store or os.environ.get(STORE_VARIABLE) or str(path / "store")
    if "://" not in store_uri:
        store_uri = str(Path(store_uri).expanduser().resolve())
    tracking_uri = (
        tracking or os.environ.get(TRACKING_VARIABLE) or f"sqlite:///{path / 'mlflow.db'}"
    )
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"the home folder {path} cannot be written ({error.strerror}); "
            f"choose another with --home or {HOME_VARIABLE}"
        ) from None
    return Home(path, store_uri, tracking_uri)


def secrets() -> dict[str, str]:
    """The secret variables that are set, for the environment of the workers."""
    return {name: os.environ[name] for name in SECRET_VARIABLES if name in os.environ}


def api_key(variable: str = API_KEY_VARIABLE) -> str:
    """Return the key for an API of models, or a word where none is needed (a service of one's own).

    It is handed to the client alone: never into records, keys or logs.
    """
    return os.environ.get(variable) or "none"
