"""Clusters of this machine: kept ones side by side, state files, addresses that lead nowhere."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from components.core.errors import ClusterError
from workflows.cluster import local as cluster
from workflows.cluster.local import KeptCluster, ensure_cluster, keep_cluster, kept_cluster

ASK = """import sys, ray; from workflows.cluster.local import KeptCluster, ensure_cluster
ensure_cluster(KeptCluster(sys.argv[1], 0, 0))
import components.core.errors as errors
@ray.remote
def where(): import components.core.errors as there; return there.__file__
assert ray.get(where.remote()) == errors.__file__
print('answered by', ray.get_runtime_context().gcs_address)
"""


@pytest.fixture
def state_file(tmp_path: Path) -> Path:
    return tmp_path / "cluster.json"


def write_state(state_file: Path, pid: int, started: float) -> None:
    state_file.write_text(json.dumps({"address": "127.0.0.1:1", "pid": pid, "started": started}))


def test_no_state_file_is_no_cluster(state_file: Path) -> None:
    assert kept_cluster(state_file) is None
    assert not cluster.stop_kept_cluster(state_file)


def test_a_process_that_has_ended_leaves_a_stale_file(state_file: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    write_state(state_file, ended.pid, time.time())
    assert kept_cluster(state_file) is None
    assert not state_file.exists()


def test_a_process_id_that_was_given_away_again_is_not_ours(state_file: Path) -> None:
    write_state(state_file, os.getpid(), psutil.Process().create_time() - 1000)
    assert not cluster.stop_kept_cluster(state_file)
    assert not state_file.exists()


def test_a_living_process_is_recognised(state_file: Path) -> None:
    write_state(state_file, os.getpid(), psutil.Process().create_time())
    state = kept_cluster(state_file)
    assert state is not None and state.pid == os.getpid()
    assert keep_cluster(state_file) == state


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": 1}'])
def test_an_unreadable_state_file_is_removed(state_file: Path, content: str) -> None:
    state_file.write_text(content)
    assert kept_cluster(state_file) is None
    assert not state_file.exists()


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1:9", "nothing answers at 127.0.0.1:9"),
        ("http://head:8265", "lavaflow submit"),
        ("ray://head:10001", "HOST:PORT or auto"),
        ("somewhere", "expected HOST:PORT"),
        ("head:port", "expected HOST:PORT"),
    ],
)
def test_an_address_that_is_none_is_told_before_ray_tries_it(
    address: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    tried: list[object] = []
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **options: tried.append(options))
    with pytest.raises(ClusterError, match=said):
        ensure_cluster(address)
    assert tried == []


def ask(state: KeptCluster) -> str:
    """Connect from another process, as the next command does, and run a task there."""
    command = [sys.executable, "-c", ASK, state.address]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=180).stdout


@pytest.mark.ray
@pytest.mark.slow
def test_two_kept_clusters_live_side_by_side(tmp_path: Path) -> None:
    files = [tmp_path / name / "cluster.json" for name in ("one", "two")]
    try:
        one, two = (keep_cluster(file, num_cpus=1) for file in files)
        assert keep_cluster(files[0]) == one
        assert one.address != two.address
        assert one.address in ask(one)
        family = psutil.Process(one.pid).children(recursive=True)
        assert cluster.stop_kept_cluster(files[0])
        assert not any(process.is_running() for process in family)
        assert kept_cluster(files[0]) is None
        assert two.address in ask(two)
    finally:
        for file in files:
            cluster.stop_kept_cluster(file)
    assert all(kept_cluster(file) is None for file in files)
