"""What this floor takes of MLflow that MLflow does not promise: names and texts inside it.

In: nothing, or a database file. Out: a quiet MLflow, a database with its tables, the signs by which
errors are told apart. Gathered here, so that one test (tests/registry/test_internals.py) names what
a new version took away. Nothing is imported before it is needed.
"""

import importlib
import logging
import os
import sqlite3
from pathlib import Path
from typing import Any

# MLflow takes these from its environment alone. Usage reports: a pipeline that may not have a
# network must not start a thread that looks for one. Retries: its default of 7 blocks for four
# minutes when a server is away; the tracker and the step layer do their own waiting.
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
# Its INFO lines about tables and migrations tell a user of the pipeline nothing, and database
# errors reach the user through `connection.readable`.
LOGGERS = {
    "mlflow": logging.WARNING,
    "mlflow.store.db.utils": logging.CRITICAL,
    "alembic": logging.WARNING,
}
# No answer from a server; a locked sqlite database.
PASSING_CODES = ("TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED")
PASSING_SIGNS = ("API request to", "Max retries exceeded", "error code 5")
# A row that somebody else inserted (as sqlite, Postgres and MySQL say it; MLflow, after three
# numbers of a new version were taken) or deleted (SQLAlchemy) between our look and our write.
RACE_SIGNS = ("unique constraint", "duplicate entry", "version creation error", "0 were matched")


def import_quietly() -> None:
    """Import MLflow with its reports, long retries and chatter turned off."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    importlib.import_module("mlflow")
    # MLflow installs its own handlers at import.
    for name, level in LOGGERS.items():
        logging.getLogger(name).setLevel(level)


def create_tables(database: Path, artifact_root: Path) -> None:
    """Make MLflow's tables in a new sqlite file, without waiting for the disk."""
    import sqlalchemy
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    def without_waiting(connection: Any, _record: Any) -> None:
        if not isinstance(connection, sqlite3.Connection):
            return  # another thread opening another database
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA journal_mode = MEMORY")

    sqlalchemy.event.listen(sqlalchemy.engine.Engine, "connect", without_waiting)
    try:
        SqlAlchemyStore(f"sqlite:///{database}", str(artifact_root)).engine.dispose()
    finally:
        sqlalchemy.event.remove(sqlalchemy.engine.Engine, "connect", without_waiting)
