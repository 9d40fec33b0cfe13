"""The service on a real local Serve: answers, rollouts without a gap, scaling in place."""

import base64
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from components.core.errors import ServingError
from components.serving.config import ReplicaRange, ServingConfig
from tests.loopback import free_port

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def checkpoints(tiny_checkpoint: Path, other_checkpoint: Path) -> dict[str, str]:
    """Two models by version."""
    return {"1": str(tiny_checkpoint), "2": str(other_checkpoint)}


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    import ray

    from workflows.cluster.local import ensure_cluster

    ensure_cluster(num_cpus=2)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def url(cluster: None, checkpoints: dict[str, str]) -> str:
    from components.serving.service import rollout

    config = ServingConfig(port=free_port(), max_new_tokens=60)
    return rollout.serve_checkpoint(checkpoints["1"], config, "pocket", "1").url


class Load:
    """Two clients that ask without pause, one plain and one streaming, and count what fails."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._stop = threading.Event()
        self.versions: list[str] = []
        self.failures: list[str] = []
        self._threads = [threading.Thread(target=self._run, args=(kind,)) for kind in (False, True)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, stream: bool) -> None:
        client = openai.OpenAI(base_url=f"{self._url}/v1", api_key="none", max_retries=0)
        while not self._stop.is_set():
            try:
                self.versions.append(self._ask(client, stream))
            except openai.OpenAIError as error:
                self.failures.append(repr(error))

    def _ask(self, client: openai.OpenAI, stream: bool) -> str:
        messages = [{"role": "user", "content": "What is it?"}]
        asked = {"model": "pocket", "messages": messages, "max_tokens": 10}
        if not stream:
            return str(client.chat.completions.create(**asked).system_fingerprint)
        events = list(client.chat.completions.create(**asked, stream=True))
        assert events[-1].choices[0].finish_reason == "length"
        return str(events[0].system_fingerprint)


def replica_names() -> set[str]:
    import ray

    named = ray.util.list_named_actors(all_namespaces=True)
    return {each["name"] for each in named if "SERVE_REPLICA::lavaflow#" in each["name"]}


def test_the_openai_client_gets_the_same_answer_plain_and_streamed(
    url: str, image_bytes: bytes
) -> None:
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    image_url = f"data:image/jpeg;base64,{base64.b64encode(image_bytes).decode()}"
    parts = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": image_url}},
    ]
    asked = {"model": "pocket", "messages": [{"role": "user", "content": parts}]}
    plain = client.chat.completions.create(**asked).choices[0].message.content
    events = client.chat.completions.create(**asked, stream=True)
    pieces = [choice.delta.content or "" for event in events for choice in event.choices]
    assert "".join(pieces) == plain
    assert plain and len(pieces) > 5
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(**{**asked, "model": "other"})
    with pytest.raises(openai.BadRequestError, match="not supported"):
        client.chat.completions.create(**asked, n=2)


def test_a_rollout_under_load_fails_no_request(url: str, checkpoints: dict[str, str]) -> None:
    from components.serving.service import rollout

    before = rollout.service_status()
    assert before is not None
    old = before.endpoint.version
    new = "2" if old == "1" else "1"
    its_own = ServingConfig(max_new_tokens=50, replicas=ReplicaRange(minimum=2, maximum=3))
    with Load(url) as load:
        endpoint = rollout.roll_over(checkpoints[new], new, its_own)
        time.sleep(1)
    assert load.failures == []
    assert endpoint.version == new
    assert (load.versions[0], load.versions[-1]) == (f"version-{old}", f"version-{new}")
    assert replica_names() and len(replica_names()) == 1
    # Its own settings, but where and how widely the operator lets it run.
    after = rollout.service_status()
    kept = before.model.config
    its_own = its_own.with_(host=kept.host, port=kept.port, replicas=kept.replicas)
    assert after is not None and after.model.config == its_own


def test_a_rollout_that_fails_leaves_the_old_version_answering(url: str, tmp_path: Path) -> None:
    from components.serving.service import rollout

    before, replicas = rollout.service_status(), replica_names()
    assert before is not None
    with Load(url) as load, pytest.raises(ServingError, match=r"keeps answering.*does not exist"):
        rollout.roll_over(str(tmp_path / "absent"), "9", before.model.config)
    assert load.failures == []
    assert set(load.versions) == {f"version-{before.endpoint.version}"}
    assert rollout.service_status() == before
    assert replica_names() == replicas


def test_scaling_keeps_the_replicas_that_stay(url: str) -> None:
    from components.serving.service import rollout

    one = replica_names()
    assert len(one) == 1
    with Load(url) as load:
        two = rollout.set_replicas(ReplicaRange(minimum=2, maximum=2))
        assert (two.num_running, len(replica_names())) == (2, 2)
        assert one < replica_names()
        ranged = rollout.set_replicas(ReplicaRange(minimum=1, maximum=2))
        assert ranged.model.config.replicas == ReplicaRange(minimum=1, maximum=2)
        assert one & replica_names()
        back = rollout.set_replicas(ReplicaRange())
    assert load.failures == []
    assert back.num_running == 1
    assert back.status == "RUNNING"
    # Replica numbers that were scaled survive a rollout; the version was not touched.
    assert back.model.with_(config=two.model.config) == two.model


def served_version(url: str) -> str:
    (model,) = httpx.get(f"{url}/v1/models").json()["data"]
    return str(model["version"])


def test_a_trial_runs_beside_the_service(url: str, checkpoints: dict[str, str]) -> None:
    from components.serving.client import ask
    from components.serving.service import rollout

    before, replicas = rollout.service_status(), replica_names()
    assert before is not None
    trial = rollout.try_out(checkpoints["2"], before.model.config, "pocket", "trial")
    assert served_version(trial.url) == "trial"
    assert served_version(url) == before.endpoint.version
    assert ask(trial.url, "What is it?", max_tokens=3)
    rollout.end_try_out()
    rollout.end_try_out()
    assert rollout.service_status() == before
    assert replica_names() == replicas


def test_a_port_that_is_taken_is_told_before_serve_starts(cluster: None) -> None:
    from components.serving.service.address import check_port

    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        with pytest.raises(ServingError, match=f"127.0.0.1:{port}.*--port"):
            check_port("127.0.0.1", port)
    check_port("127.0.0.1", port)
    with pytest.raises(ServingError, match="cannot listen"):
        check_port("192.0.2.77", 8000)
