"""Jobs on a cluster, as far as no cluster is needed: addresses, arguments, endings.

`tests/serving/test_service_jobs.py` runs real jobs on a real head.
"""

import contextlib
import logging
import threading
from collections.abc import AsyncIterator, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace
from typing import Any

import pytest

from components.core.errors import ClusterError
from workflows.cluster import submit


class FakeClient:
    """Ray's job client as far as a followed job touches it."""

    def __init__(self, status: str = "SUCCEEDED", code: int | None = 0, output: str = "") -> None:
        self.status, self.code, self.output = status, code, output
        self.submitted: dict[str, Any] = {}
        self.error: BaseException | None = None

    def submit_job(self, **arguments: Any) -> str:
        self.submitted = arguments
        return "job_1"

    async def tail_job_logs(self, job_id: str) -> AsyncIterator[str]:
        yield f"Running entrypoint for job {job_id}: long\n"
        yield "step one\nstep two\n"
        if self.error is not None:
            raise self.error

    def get_job_status(self, job_id: str) -> Any:
        return SimpleNamespace(is_terminal=lambda: True)

    def get_job_info(self, job_id: str) -> Any:
        status = SimpleNamespace(value=self.status)
        return SimpleNamespace(status=status, driver_exit_code=self.code, message="it ended\nso")

    def get_job_logs(self, job_id: str) -> str:
        return self.output


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> FakeClient:
    client = FakeClient()
    monkeypatch.setattr(submit, "connect", lambda address: client)
    return client


def test_a_recipe_becomes_the_same_command_on_the_cluster(client: FakeClient) -> None:
    lines: list[str] = []
    code = submit.submit(
        "tiny",
        ["finetune.learning_rate=1e-5", "name=a b"],
        "localhost:8265",
        options=["--force"],
        store="s3://bucket/store",
        tracking_uri="http://mlflow:5000",
        env_vars={"AWS_SECRET_ACCESS_KEY": "hidden"},
        write=lines.append,
    )
    assert code == 0
    entrypoint = client.submitted["entrypoint"]
    assert entrypoint.endswith(
        'exec "$PY" -u -m workflows.cli run tiny --set finetune.learning_rate=1e-5 '
        "--set 'name=a b' --force --address auto --store s3://bucket/store "
        "--tracking-uri http://mlflow:5000"
    )
    assert "working_dir" in client.submitted["runtime_env"]
    assert client.submitted["runtime_env"]["env_vars"] == {"AWS_SECRET_ACCESS_KEY": "hidden"}
    said = "\n".join(lines)
    assert "ray job logs --follow job_1 --address http://localhost:8265" in said
    assert "ray job stop job_1" in said
    assert "hidden" not in said + entrypoint


def test_following_shows_the_output_and_returns_the_status(client: FakeClient) -> None:
    lines: list[str] = []
    assert submit.run_remote(["status"], "http://localhost:8265", write=lines.append) == 0
    assert "step one\nstep two" in lines
    assert not any("entrypoint" in line for line in lines)


@pytest.mark.parametrize(
    ("status", "code", "expected"), [("FAILED", 12, 12), ("FAILED", None, 1), ("STOPPED", None, 1)]
)
def test_a_job_that_ends_badly_passes_its_status_on(
    client: FakeClient, status: str, code: int | None, expected: int
) -> None:
    client.status, client.code = status, code
    lines: list[str] = []
    assert submit.run_remote(["run", "tiny"], "http://h:8265", write=lines.append) == expected
    assert f"{status}. it ended" in lines[-1]


def test_missing_packages_on_the_cluster_are_explained(client: FakeClient) -> None:
    client.status, client.code = "FAILED", 1
    client.output = "ModuleNotFoundError: No module named 'typer'"
    lines: list[str] = []
    submit.run_remote(["run", "tiny"], "http://h:8265", write=lines.append)
    assert "Every node needs the dependencies" in lines[-1]


def test_ctrl_c_detaches_and_says_how_to_go_on(client: FakeClient) -> None:
    client.error = KeyboardInterrupt()
    lines: list[str] = []
    code = submit.run_remote(["run", "tiny"], "http://h:8265", write=lines.append)
    assert code == submit.DETACHED
    assert "the job goes on" in lines[-1] and "ray job stop job_1" in lines[-1]


def test_a_broken_line_waits_for_the_end(
    client: FakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    client.error = RuntimeError("WebSocket connection closed unexpectedly")
    assert submit.run_remote(["run", "tiny"], "http://h:8265", write=lambda _: None) == 0
    assert "line to the job's output broke" in caplog.text


@pytest.mark.parametrize(
    ("store", "address", "warned"),
    [
        ("/data/store", "http://192.0.2.9:8265", True),
        ("s3://bucket/store", "http://192.0.2.9:8265", False),
        ("/data/store", "http://127.0.0.1:8265", False),
        ("/data/store", "localhost:8265", False),
    ],
)
def test_a_local_store_is_warned_about_when_the_head_is_elsewhere(
    client: FakeClient, store: str, address: str, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="workflows.cluster.submit"):
        submit.submit("tiny", [], address, store=store, write=lambda _: None)
    assert ("is a path on this machine" in caplog.text) is warned


class Answering(BaseHTTPRequestHandler):
    """Answers every request with the server's status."""

    def do_GET(self) -> None:
        self.send_response(self.server.status)  # type: ignore[attr-defined]
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    """At a port whose number could be taken for an answer's, 403."""
    with _bound(range(40300, 40400)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def _bound(ports: Iterable[int]) -> HTTPServer:
    for port in ports:
        with contextlib.suppress(OSError):
            return HTTPServer(("127.0.0.1", port), Answering)
    raise AssertionError("all of these ports are taken")


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (404, "does not take jobs"),
        (500, "does not take jobs"),
        (401, "wants a token"),
        (403, "wants a token"),
    ],
)
def test_a_wrong_server_and_a_missing_token_are_told(
    server: HTTPServer, status: int, said: str
) -> None:
    server.status = status  # type: ignore[attr-defined]
    with pytest.raises(ClusterError, match=said):
        submit.connect(f"http://127.0.0.1:{server.server_port}")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://127.0.0.1:9", "nothing answers at http://127.0.0.1:9"),
        ("127.0.0.1:9/", "nothing answers at http://127.0.0.1:9 "),
        ("ray://127.0.0.1:10001", "expected http://HEAD:8265"),
        ("http://", "expected http://HEAD:8265"),
        ("http://no-such-host.invalid:8265", "nothing answers"),
        ("http://127.0.0.1:99999", "nothing answers"),
    ],
)
def test_an_address_that_leads_nowhere_is_told(address: str, said: str) -> None:
    with pytest.raises(ClusterError, match=said):
        submit.connect(address)
