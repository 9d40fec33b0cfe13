"""Reaching MLflow: creating a database from two processes, quietly, and errors that can be read."""

import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from components.core.errors import RegistryError
from components.registry import connection

REPOSITORY = Path(__file__).parents[2]

OPEN = textwrap.dedent(
    """
    import sys
    from components.registry.connection import connect
    client = connect(sys.argv[1])
    client.create_run("0", run_name=sys.argv[2])
    """
)


def test_two_processes_create_one_database_at_once_and_say_nothing(tmp_path):
    uri = connection.sqlite_uri(tmp_path / "new" / "mlflow.db")
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN, uri, name],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name in ("first", "second")
    ]
    outputs = [process.communicate(timeout=360)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert outputs == ["", ""]
    with sqlite3.connect(tmp_path / "new" / "mlflow.db") as database:
        assert sorted(database.execute("select name from runs")) == [("first",), ("second",)]
    # What a killed maker leaves is taken away by the next one; here nothing may be left.
    assert not list((tmp_path / "new").glob("*.new*"))


def test_the_configuration_commands_do_not_load_mlflow():
    modules = "tracking versions gate ledger card lineage promotion"
    imports = "; ".join(f"import components.registry.{name}" for name in modules.split())
    check = (
        f"import sys; {imports}; print([m for m in ('mlflow', 'sqlalchemy') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", check], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_server_that_is_not_there_is_named():
    with pytest.raises(RegistryError, match=r"no MLflow server answers at http://127\.0\.0\.1:9 "):
        connection.connect("http://127.0.0.1:9")


def test_a_file_store_is_refused_with_what_to_use(tmp_path):
    with pytest.raises(RegistryError, match=r"use sqlite:////ABSOLUTE/PATH/mlflow\.db or http://"):
        connection.connect(str(tmp_path))


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RegistryError, match="cannot create the MLflow database"):
        connection.connect(connection.sqlite_uri(tmp_path / "file" / "mlflow.db"))


def test_a_file_that_is_no_database_is_named(tmp_path):
    (tmp_path / "mlflow.db").write_bytes(b"not a database" * 100)
    with pytest.raises(RegistryError, match=r"mlflow\.db: "):
        connection.connect(connection.sqlite_uri(tmp_path / "mlflow.db"))


def test_a_password_is_not_repeated():
    hidden = connection.hide_password("postgresql://ada:secret@db:5432/mlflow")
    assert hidden == "postgresql://ada:***@db:5432/mlflow"
    assert connection.hide_password("http://mlflow:5000") == "http://mlflow:5000"
