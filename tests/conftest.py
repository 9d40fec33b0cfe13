"""What tests of several floors need: a raw folder, an S3 server."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Before torch is loaded: the models are tiny, and threads that wait for each other cost more.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Else a thread of Ray Data that outlives its cluster starts another one in passing; when that has
# ended too, Ray ends the process of the tests 60 s later.
os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"

from tests.data.samples import write_captions, write_mixture

# Of itself Hypothesis fails an example that takes 0.2 s, which a busy machine does not promise.
settings.register_profile(
    "any machine", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")

BUCKET = "lavaflow-test"
IN_CI = bool(os.environ.get("CI"))
"""In CI a program that is missing is a failure, not a skip: .ci/run installs what tests need."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that start clusters: short ones then fill the end of both processes."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return
    files = [item.path for item in items]
    cost = dict.fromkeys(files, 2)
    for item in items:
        for marker, rank in (("ray", 0), ("slow", 1)):
            if item.get_closest_marker(marker):
                cost[item.path] = min(cost[item.path], rank)
    items.sort(key=lambda item: cost[item.path])


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A raw folder with 6 captions and four images' worth of each mixture source."""
    root = tmp_path / "raw"
    write_captions(root)
    write_mixture(root)
    return root


@pytest.fixture(scope="session")
def s3_address() -> Iterator[str]:
    """Address of a server in this process."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_environment(s3_address: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Point botocore to the server as a user would, by the environment; returns its address."""
    import s3fs

    values = {
        "AWS_ENDPOINT_URL": s3_address,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    # The same cached instance as the store uses: making one loads botocore's large tables.
    files = s3fs.S3FileSystem(use_listings_cache=False)
    if not files.exists(BUCKET):
        files.mkdir(BUCKET)
    return s3_address
