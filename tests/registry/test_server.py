"""The same mirror and registry over HTTP: a real MLflow server that goes away and comes back.

With Postgres behind it where its programs and the driver are on the machine, else sqlite.
"""

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from components.core.errors import RegistryError
from components.registry import connection, names
from components.registry.scores import ScoreRow
from components.registry.tracking import MlflowTracker
from components.registry.versions import Registration, Registry
from tests.loopback import free_port

pytestmark = pytest.mark.slow

START_TIMEOUT_S = 300.0


class Server:
    """An MLflow server that can be stopped and started again at the same address."""

    def __init__(self, folder: Path, database_uri: str) -> None:
        self.folder = folder
        self.database_uri = database_uri
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        options = {
            "--backend-store-uri": self.database_uri,
            "--artifacts-destination": str(self.folder / "artifacts"),
            "--host": "127.0.0.1",
            "--port": str(self.port),
            "--workers": "1",
        }
        words = [word for option in options.items() for word in option]
        with (self.folder / "server.log").open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *words],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
                env={
                    **os.environ,
                    "MLFLOW_DISABLE_TELEMETRY": "true",
                    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
                },
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                httpx.get(f"{self.uri}/health", timeout=1.0).raise_for_status()
                return
            except httpx.HTTPError:
                assert self.process.poll() is None, (self.folder / "server.log").read_text()
                assert time.monotonic() < deadline, (self.folder / "server.log").read_text()
                time.sleep(0.2)

    def stop(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


@pytest.fixture(scope="module")
def database_uri(tmp_path_factory):
    driver = importlib.util.find_spec("psycopg")
    # Postgres refuses to run as root.
    if driver is None or shutil.which("initdb") is None or os.geteuid() == 0:
        yield connection.sqlite_uri(tmp_path_factory.mktemp("server") / "server.db")
        return
    data, port = str(tmp_path_factory.mktemp("postgres") / "data"), free_port()
    subprocess.run(["initdb", "-D", data, "-U", "mlflow", "-A", "trust"], check=True)
    options = f"-p {port} -k {data} -c listen_addresses=127.0.0.1 -c fsync=off"
    subprocess.run(
        ["pg_ctl", "-D", data, "-w", "-o", options, "-l", f"{data}.log", "start"], check=True
    )
    try:
        yield f"postgresql://mlflow@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run(["pg_ctl", "-D", data, "-m", "immediate", "stop"], check=True)


@pytest.fixture(scope="module")
def server(tmp_path_factory, database_uri):
    server = Server(tmp_path_factory.mktemp("mlflow-server"), database_uri)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def test_a_run_and_a_version_over_http(server, tmp_path):
    tracker = MlflowTracker(server.uri)
    tracker.start_run("tiny", {"recipe": "tiny"}, {})
    tracker.start_step("register", "key-http", {}, {"model": str(tmp_path)})
    (tmp_path / "scores.json").write_text("{}")
    tracker.log_artifact("register", tmp_path / "scores.json", "scores.json")
    run_id = tracker.step_run_id("register")
    registry = Registry(server.uri)
    score = ScoreRow(benchmark="pope", percent=90.0, metric="f1")
    # A checkpoint on a local disk: the server refuses such a source, the version must stand anyway.
    made = registry.register(
        "lavaflow-tiny",
        Registration(
            checkpoint_uri=str(tmp_path),
            checkpoint_digest="d",
            run_id=run_id,
            scores=(score,),
            card="# card",
        ),
    )
    tracker.finish_step("register", "ok", {})
    tracker.finish_run("ok")
    client = connection.connect(server.uri)
    assert client.get_run(tracker.run_id).info.status == "FINISHED"
    assert [file.path for file in client.list_artifacts(run_id)] == ["scores.json"]
    assert made.uri == str(tmp_path)
    assert registry.resolve("lavaflow-tiny@candidate") == made
    remote = registry.register(
        "lavaflow-tiny", Registration(checkpoint_uri="s3://bucket/x", checkpoint_digest="e")
    )
    assert client.get_model_version("lavaflow-tiny", str(remote.version)).source == "s3://bucket/x"
    with pytest.raises(RegistryError, match="no model named 'nothing'"):
        registry.resolve("nothing@champion")


def test_a_server_that_restarts_in_the_middle_loses_nothing(server, caplog):
    tracker = MlflowTracker(server.uri, finish_timeout_s=60.0)
    tracker.start_run("tiny", {}, {})
    tracker.start_step("finetune", "key-restart", {}, {})
    tracker.log_metrics("finetune", {"train/loss": 1.0}, 1)
    assert tracker.flush(30.0)
    server.stop()
    try:
        for step in range(2, 6):
            tracker.log_metrics("finetune", {"train/loss": float(step)}, step)
        tracker.finish_step("finetune", "ok", {})
        with pytest.raises(RegistryError, match=f"127.0.0.1:{server.port}"):
            Registry(server.uri).versions("lavaflow-tiny")
    finally:
        server.start()
    tracker.finish_run("ok")
    client = connection.connect(server.uri)
    run_id = tracker.step_run_id("finetune")
    steps = [point.step for point in client.get_metric_history(run_id, "train/loss")]
    assert steps == [1, 2, 3, 4, 5]
    assert client.get_run(run_id).data.tags[names.STEP] == "finetune"
    assert client.get_run(tracker.run_id).info.status == "FINISHED"
    assert any("The run goes on" in record.message for record in caplog.records)
