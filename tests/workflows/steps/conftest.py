"""A store, small artifacts and an executor without Ray for the tests of the step layer."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from components.core.artifact import Artifact
from components.core.config import Config
from components.core.store import Store
from workflows.steps import Chain, Observer, StepContext
from workflows.steps.running.retries import Backoff
from workflows.steps.running.task import Done, Failed, Order, run_order


class Number(Artifact):
    """A number that a step made."""

    value: float = 0.0


class Settings(Config):
    """What the test steps are configured by."""

    learning_rate: float = 1e-3
    name: str = "a"


class ThreadSink:
    """Collects messages in the driver's own process."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []

    def send(self, message: dict[str, Any]) -> None:
        self.messages.append(message)

    def flush(self) -> None:
        pass


class ThreadExecutor:
    """Runs orders in threads: the same code as a Ray task runs, without a cluster."""

    def __init__(self) -> None:
        self._sink = ThreadSink()
        self.outcomes: dict[str, Done | Failed] = {}
        self.threads: dict[str, threading.Thread] = {}
        self.cancelled: list[str] = []
        self.break_next: list[Failed] = []

    def sink(self) -> ThreadSink:
        return self._sink

    def submit(self, order: Order, num_cpus: float) -> str:
        ticket = order.attempt

        def work() -> None:
            if self.break_next:
                self.outcomes[ticket] = self.break_next.pop(0)
                return
            self.outcomes[ticket] = run_order(order)

        self.threads[ticket] = threading.Thread(target=work, daemon=True)
        self.threads[ticket].start()
        return ticket

    def wait(self, tickets: Sequence[str], timeout_s: float) -> list[str]:
        end = time.monotonic() + timeout_s
        while True:
            ready = [one for one in tickets if one in self.outcomes]
            if ready or time.monotonic() >= end:
                return ready
            time.sleep(0.005)

    def result(self, ticket: str) -> Done | Failed:
        return self.outcomes[ticket]

    def cancel(self, tickets: Sequence[str]) -> None:
        self.cancelled += tickets

    def drain(self, final: bool = False) -> list[dict[str, Any]]:
        messages, self._sink.messages = self._sink.messages, []
        return messages


class Events(Observer):
    """Keeps what a chain told: (event, step)."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def on_hit(self, folder: Any, reason: str, saved_s: float) -> None:
        self.seen.append(("hit", folder.step))

    def on_waiting(self, folder: Any, holder: str) -> None:
        self.seen.append(("waiting", folder.step))

    def on_started(self, folder: Any, reason: str, attempt_number: int) -> None:
        self.seen.append(("started", folder.step))

    def on_finished(self, folder: Any, seconds: float, uri: str) -> None:
        self.seen.append(("finished", folder.step))

    def on_retry(self, folder: Any, error: str, delay_s: float, why: str) -> None:
        self.seen.append(("retry", folder.step))

    def on_failed(self, folder: Any, error: str, seconds: float) -> None:
        self.seen.append(("failed", folder.step))

    def on_metrics(self, step: str, metrics: dict[str, float], at: int | None) -> None:
        self.seen.append(("metrics", step))

    def of(self, event: str) -> list[str]:
        return [step for kind, step in self.seen if kind == event]


def source(config: Settings, inputs: dict[str, Any], context: StepContext) -> Number:
    (context.output_path / "value.txt").write_text(str(config.learning_rate))
    context.log_metrics({"train/loss": 0.5}, step=1)
    return Number(value=config.learning_rate)


def double(config: Settings | None, inputs: dict[str, Any], context: StepContext) -> Number:
    text = (context.input_path(inputs["of"]) / "value.txt").read_text()
    (context.output_path / "value.txt").write_text(str(2 * float(text)))
    return Number(value=2 * inputs["of"].value)


def total(config: Settings | None, inputs: dict[str, Any], context: StepContext) -> Number:
    value = sum(one.value for one in inputs["of"])
    (context.output_path / "value.txt").write_text(str(value))
    return Number(value=value)


class Steps:
    """The names above, handed out by a fixture: test modules do not import each other."""

    Number, Settings, Events, ThreadExecutor = Number, Settings, Events, ThreadExecutor
    source, double, total = staticmethod(source), staticmethod(double), staticmethod(total)


@pytest.fixture
def steps() -> type[Steps]:
    return Steps


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(str(tmp_path / "store"))


@pytest.fixture(scope="module")
def s3_bucket() -> Iterator[str]:
    """Address of a bucket on an S3 server in this process, which the environment points to."""
    import s3fs
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        s3fs.S3FileSystem.clear_instance_cache()
        s3fs.S3FileSystem(use_listings_cache=False).mkdir("steps")
        yield "s3://steps"
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.fixture
def make_chain(store: Store) -> Callable[..., Chain]:
    """Return a function that makes a chain of source -> two doubles -> total."""

    def make(learning_rate: float = 1e-3, empty: bool = False, **options: Any) -> Chain:
        options.setdefault("executor", ThreadExecutor())
        options.setdefault("backoff", Backoff(first_s=0.01, longest_s=0.02))
        options.setdefault("lease_ttl_s", 30.0)
        chain = Chain(options.pop("store", store), "test", **options)
        if empty:
            return chain
        config = Settings(learning_rate=learning_rate)
        first = chain.add("source", source, config=config, returns=Number)
        left = chain.add("left", double, inputs={"of": first}, returns=Number)
        right = chain.add("right", double, inputs={"of": first}, returns=Number)
        chain.add("total", total, inputs={"of": [left, right]}, returns=Number)
        return chain

    return make
