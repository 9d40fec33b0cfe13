"""One MLflow database for the whole folder: creating it costs seconds, names keep tests apart."""

import pytest

from components.registry import connection


@pytest.fixture(scope="session")
def tracking_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return connection.sqlite_uri(tmp_path_factory.mktemp("mlflow") / "mlflow.db")


@pytest.fixture
def client(tracking_uri: str):
    return connection.connect(tracking_uri)
