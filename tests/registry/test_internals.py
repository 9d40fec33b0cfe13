"""What we take of MLflow's insides is still there; each failure names what a new version took away.

The texts of errors have their tests where they matter: test_races.py, test_server.py.
"""

import importlib
import inspect
import logging

import pytest

from components.registry import internals


@pytest.mark.parametrize("name", internals.ENVIRONMENT)
def test_mlflow_reads_the_variable(name: str) -> None:
    variables = importlib.import_module("mlflow.environment_variables")
    assert any(getattr(each, "name", "") == name for each in vars(variables).values()), name


@pytest.mark.parametrize("name", [name for name in internals.LOGGERS if "." in name])
def test_mlflow_logs_under_the_name(name: str) -> None:
    assert importlib.import_module(name)._logger is logging.getLogger(name)


def test_the_database_store_takes_an_address_and_a_root_and_has_an_engine() -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    parameters = list(inspect.signature(SqlAlchemyStore.__init__).parameters)
    assert parameters[1:3] == ["db_uri", "default_artifact_root"]
    assert "self.engine = " in inspect.getsource(SqlAlchemyStore.__init__)


@pytest.mark.parametrize("code", internals.PASSING_CODES)
def test_mlflow_has_the_error_code(code: str) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import ErrorCode

    assert MlflowException("", ErrorCode.Value(code)).error_code == code


def test_mlflow_gives_up_a_new_version_in_these_words() -> None:
    store = importlib.import_module("mlflow.store.model_registry.sqlalchemy_store")
    source = inspect.getsource(store.SqlAlchemyStore.create_model_version)
    assert "version creation error (name=" in source.lower()
