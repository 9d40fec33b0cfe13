"""A driver process for the tests with a real Ray: `chain_program.py STORE LOG MODE`.

Each step that really runs adds its name to LOG, so a test can count. Prints the result, or the last
line of StepFailed.
"""

import os
import sys
import time
from pathlib import Path
from typing import Any

import ray

from components.core.artifact import Artifact
from components.core.errors import StepFailed
from components.core.store import open_store
from workflows.steps import Chain, NullTracker, StepContext
from workflows.steps.running.retries import Backoff

store, log, mode = sys.argv[1:4]


def note(word: str) -> None:
    with Path(log).open("a") as file:
        file.write(word + "\n")


def connect() -> None:
    note("cluster")
    for tries_left in (2, 1, 0):
        try:
            ray.init(
                "local",
                num_cpus=2,
                include_dashboard=False,
                log_to_driver=False,
                object_store_memory=100_000_000,
                configure_logging=False,
            )
            return
        except Exception:  # Ray gives a very busy machine 30 s to start and raises a bare Exception
            ray.shutdown()
            if not tries_left:
                raise


def first(config: Any, inputs: dict[str, Any], context: StepContext) -> Artifact:
    note("first")
    (context.output_path / "x").write_text("1")
    return Artifact()


def slow(config: Any, inputs: dict[str, Any], context: StepContext) -> Artifact:
    """Writes half a file and leaves a mark, then is slow; of `kill` until there is a file `go`."""
    note("slow")
    (context.output_path / "half").write_bytes(b"half")
    marker = Path(context.resume_path())
    if marker.exists():
        note("slow resumed")
    else:
        marker.mkdir(parents=True)
        (marker / "state").write_text("half way")
    note("slow is in the middle")
    if mode == "two":
        time.sleep(4)
    else:
        wait_for(Path(log).with_name("go"), 600)
    assert (context.input_path(inputs["of"]) / "x").read_text() == "1"
    return Artifact()


def wait_for(path: Path, timeout_s: float) -> None:
    end = time.monotonic() + timeout_s
    while not path.exists():
        assert time.monotonic() < end, f"{path.name} never came"
        time.sleep(0.05)


def side(config: Any, inputs: dict[str, Any], context: StepContext) -> Artifact:
    """Returns only when its twin runs at the same time; reports from a nested task too."""
    here = Path(log).with_suffix(f".{context.step}")
    here.write_text("here")
    for twin in ("side-a", "side-b"):
        wait_for(Path(log).with_suffix(f".{twin}"), 180)
    context.log_metrics({"loss": 0.25}, step=3)
    callback = context.log_metrics

    @ray.remote(num_cpus=0)
    def controller() -> None:
        callback({"loss": 0.125}, step=4)

    ray.get(controller.remote())
    return Artifact()


def crashes(config: Any, inputs: dict[str, Any], context: StepContext) -> Artifact:
    note("crashes")
    if not Path(log).with_suffix(".crashed").exists():
        Path(log).with_suffix(".crashed").write_text("once")
        os._exit(1)
    return Artifact()


class PrintingTracker(NullTracker):
    def log_metrics(self, step: str, metrics: dict[str, float], at: int | None) -> None:
        note(f"metrics {step} {metrics['loss']} at {at}")

    def finish_step(self, step: str, status: str, outputs: dict[str, str]) -> None:
        note(f"tracker {step} {status}")


chain = Chain(
    open_store(store),
    "program",
    tracker=PrintingTracker(),
    ensure_cluster=connect,
    resume_command="run the same again",
    backoff=Backoff(0.1, 0.2),
    lease_ttl_s={"kill": 7200.0}.get(mode, 8.0),
)
if mode == "parallel":
    chain.add("side-a", side, num_cpus=1)
    chain.add("side-b", side, num_cpus=1)
    chain.add("crashes", crashes, retries=1, num_cpus=0)
else:
    handle = chain.add("first", first)
    chain.add("slow", slow, inputs={"of": handle})
try:
    made = chain.run()
    print("made", sorted(made))
except StepFailed as error:
    print(error)
    sys.exit(12)
except KeyboardInterrupt:
    note("interrupted")
    sys.exit(130)
finally:
    note("replay without ray" if not ray.is_initialized() else "end")
