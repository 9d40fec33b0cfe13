"""A service that a Ray job deploys on a cluster started by hand: it outlives the job and its code.

The job brings its code as a working_dir, which Ray deletes when nobody uses it any more. So after
the job's end every replica is killed, and later jobs scale the service and roll it over.
"""

import contextlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from tests.loopback import free_port, free_ports
from workflows.cluster.submit import run_python

pytestmark = [pytest.mark.ray, pytest.mark.slow]

CONNECT = "import sys; from workflows.cluster.local import ensure_cluster; ensure_cluster('auto');"
DEPLOY = f"""{CONNECT}
from components.serving.service import rollout
from components.serving.config import ServingConfig
config = ServingConfig(port=int(sys.argv[2]), max_new_tokens=20)
print('deployed', rollout.serve_checkpoint(sys.argv[1], config, 'pocket', '1').url)
"""
SCALE = f"""{CONNECT}
from components.serving.service import rollout
from workflows.service.scale import replica_range, service_row
print(service_row(rollout.set_replicas(replica_range(int(sys.argv[1]), None, None))))
"""
ROLL_OVER = f"""{CONNECT}
from components.serving.service import rollout
from components.serving.config import ServingConfig
print('now', rollout.roll_over(sys.argv[1], '2', ServingConfig()).version)
"""


@dataclass(frozen=True)
class Head:
    """A running head: its dashboard's address and its process."""

    address: str
    process: psutil.Process


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Head]:
    """A head as a user starts it, in a folder and on ports of its own."""
    gcs, dashboard, agent, client = free_ports(4)
    folder = tempfile.mkdtemp(prefix="lf")  # not pytest's: socket paths end at 107 characters
    log = (tmp_path_factory.mktemp("head") / "head.log").open("w")
    command = [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block"),
        *(f"--port={gcs}", f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}"),
        *(f"--dashboard-agent-listen-port={agent}", "--num-cpus=2", "--disable-usage-stats"),
        f"--temp-dir={folder}",
    ]
    process = psutil.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    address = f"http://127.0.0.1:{dashboard}"
    try:
        wait_for(lambda: httpx.get(f"{address}/api/version").status_code < 500, 120)
        yield Head(address, process)
    finally:
        family = [process, *process.children(recursive=True)]
        process.terminate()
        _, left = psutil.wait_procs(family, timeout=3)
        for orphan in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                orphan.kill()
        shutil.rmtree(folder, ignore_errors=True)


def wait_for(condition: object, timeout_s: float) -> None:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        try:
            if condition():  # type: ignore[operator]
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    raise AssertionError("timed out")


def run(head: Head, code: str, *arguments: str) -> str:
    lines: list[str] = []
    status = run_python(["-c", code, *arguments], head.address, title="test", write=lines.append)
    output = "\n".join(lines)
    assert status == 0, output
    return output


def replicas(head: Head) -> list[psutil.Process]:
    """Replica processes of this test's cluster; others may run on this machine."""
    found = []
    for process in head.process.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "ServeReplica" in " ".join(process.cmdline()):
                found.append(process)
    return found


def test_a_service_outlives_its_job_and_its_replicas(
    head: Head, tiny_checkpoint: Path, other_checkpoint: Path
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    assert f"deployed {url}" in run(head, DEPLOY, str(tiny_checkpoint), str(port))
    assert httpx.get(f"{url}/health").json()["version"] == "1"

    (only,) = replicas(head)
    only.kill()
    only.wait(30)
    # Ray needs a moment to see that the process is gone; only then is the new replica awaited.
    wait_for(lambda: replicas(head) and httpx.get(f"{url}/health", timeout=5).is_success, 120)
    (restarted,) = replicas(head)
    assert restarted.pid != only.pid

    assert "'replicas': '2 of 2'" in run(head, SCALE, "2")
    assert restarted.pid in {process.pid for process in replicas(head)}
    assert len(replicas(head)) == 2

    assert "now 2" in run(head, ROLL_OVER, str(other_checkpoint))
    assert httpx.get(f"{url}/health").json()["version"] == "2"
    assert len(replicas(head)) == 2


def test_a_job_that_fails_passes_its_status_on(head: Head) -> None:
    lines: list[str] = []
    status = run_python(["-c", "exit(7)"], head.address, title="fails", write=lines.append)
    assert status == 7
    assert "FAILED" in "\n".join(lines)
    status = run_python(
        ["-c", "import no_such_package"], head.address, title="fails", write=lines.append
    )
    assert status == 1
    assert "The cluster's Python lacks a package" in lines[-1]
