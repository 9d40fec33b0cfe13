"""The whole chain with all its real parts: killed, resumed, replayed, changed."""

import itertools
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from components.registry.versions import Registry, ResolvedVersion
from tests.integration.conftest import ROOT, CommandLine, small
from tests.workflows.command_line import Lavaflow
from workflows.artifacts import VersionSettings
from workflows.recipes import get_recipe
from workflows.registration.settings import settings_of

pytestmark = [pytest.mark.ray, pytest.mark.slow]

STEPS_BEFORE_FINETUNE = ["raw", "prepare-pretrain", "prepare-finetune", "pretrain"]


def test_a_killed_run_resumes_and_repeats_no_finished_step(lavaflow: CommandLine) -> None:
    run = lavaflow.start("run", "tiny", *small())
    try:
        checkpoint = _wait_for_checkpoint(lavaflow.home / "store" / "finetune", run)
    finally:
        os.kill(run.pid, signal.SIGKILL)
        run.communicate(timeout=30)
    records = _records(lavaflow)
    assert sorted(records) == sorted(STEPS_BEFORE_FINETUNE)

    again = lavaflow.run("run", "tiny", *small())
    assert again.returncode == 0, again.stdout + again.stderr
    after = _records(lavaflow)
    for step in STEPS_BEFORE_FINETUNE:
        assert after[step] == records[step], f"{step} ran again"
    assert after["finetune"]["artifact"]["num_steps"] == 24
    # The first attempt's checkpoints were not made again: the curve goes on behind them.
    first_step = _first_logged_step(lavaflow, "finetune")
    assert first_step > checkpoint
    assert "Answers of version 1" in again.stdout
    assert "lavaflow promote" not in again.stdout


def test_a_finished_run_is_replayed(lavaflow: CommandLine) -> None:
    before = _records(lavaflow)
    asked = small()[1::2]  # the assignments alone
    assert settings_of(_version(lavaflow)) == VersionSettings.of(get_recipe("tiny", asked))
    # How many threads a replica has does not identify a version, but the last run's number stands.
    threads = "serving.num_threads=2"
    replay = lavaflow.run("run", "tiny", *small(), "--set", threads)
    assert replay.returncode == 0, replay.stdout + replay.stderr
    assert "made now" not in replay.stdout
    assert _records(lavaflow) == before
    assert "Kept with lavaflow-tiny/1: serving.num_threads: 1 -> 2" in replay.stdout
    assert settings_of(_version(lavaflow)) == VersionSettings.of(
        get_recipe("tiny", [*asked, threads])
    )


def test_a_changed_learning_rate_reruns_finetune_and_what_follows(asking: Lavaflow) -> None:
    changed = [*small(), "--set", "finetune.learning_rate=0.0005"]
    planned = asking("plan", "tiny", *changed, "--json")
    assert planned.returncode == 0, planned.stderr
    actions = {row["name"]: row["action"] for row in json.loads(planned.stdout)}
    assert [name for name, action in actions.items() if action == "skip"] == STEPS_BEFORE_FINETUNE
    assert actions["finetune"] == actions["register"] == actions["deploy"] == "run"
    explained = asking("plan", "tiny", *changed, "--explain")
    assert "learning_rate: 0.001 -> 0.0005" in explained.stdout


def test_resources_and_places_are_not_identity(asking: Lavaflow) -> None:
    planned = asking(
        "plan",
        "tiny",
        *small(),
        "--set",
        "finetune.num_workers=1",
        "--set",
        "serving.port=9123",
        "--json",
    )
    assert {row["action"] for row in json.loads(planned.stdout)} == {"skip"}


def test_models_lists_the_version_with_its_alias(asking: Lavaflow) -> None:
    listed = asking("models")
    assert listed.returncode == 0, listed.stderr
    assert "champion" in listed.stdout
    assert "pope" in listed.stdout


def test_the_card_tells_what_the_version_was_made_of(lavaflow: CommandLine) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{lavaflow.home / 'mlflow.db'}")
    card = client.get_model_version("lavaflow-tiny", "1").description
    lines = card.splitlines()
    rows = [line for line in lines if line.startswith(("| pretrain", "| finetune"))]
    assert [row.split(" | ")[:5] for row in rows] == [
        ["| pretrain", "connector", "6", "32", "0.004"],
        ["| finetune", "connector, language_model", "24", "32", "0.001"],
    ]
    record = _records(lavaflow)["finetune"]
    tower = "lavaflow tiny vision tower (CLIPVisionModel)"
    language_model = "lavaflow tiny language model (LlamaForCausalLM)"
    for line in (
        "# lavaflow-tiny",
        f"| vision tower | {tower} |",
        f"| language model | {language_model} |",
        "| connector | mlp2x_gelu, on layer -2 of the vision tower |",
        f"| parameters | {record['artifact']['num_parameters']:,} |",
        f"| checkpoint digest | `{record['digest']}` |",
        f"* {tower}: apache-2.0",
        f"* {language_model}: apache-2.0",
    ):
        assert line in lines
    assert str(ROOT) not in card
    scores = _version(lavaflow).scores
    assert {row.benchmark for row in scores} == set(get_recipe("tiny").evaluation.benchmarks)
    for row in scores:
        start = f"| {row.benchmark} | {row.metric or '-'} | {row.percent:.1f}"
        assert any(line.startswith(start) for line in lines), start
    stored = (lavaflow.home / "store" / "register").rglob("card.md")
    (with_gate,) = [path.read_text() for path in stored]
    assert "Gate: the version passes." in with_gate.splitlines()


def _version(lavaflow: CommandLine) -> ResolvedVersion:
    return Registry(f"sqlite:///{lavaflow.home / 'mlflow.db'}").version("lavaflow-tiny", 1)


def _wait_for_checkpoint(
    finetune: Path, run: "subprocess.Popen[str]", timeout_s: float = 600
) -> int:
    """Return the step of the first checkpoint of finetune that is complete."""
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        assert run.poll() is None, (
            f"the run ended too early:\n{run.stdout.read() if run.stdout else ''}"
        )
        for snapshot in finetune.glob("*/resume/*/checkpoint_manager_snapshot.json"):
            folders = sorted(snapshot.parent.glob("step-*"))
            if len(folders) >= 2:  # the first of two is certainly committed
                return int(folders[0].name.split("-")[1])
        time.sleep(0.2)
    raise AssertionError("no checkpoint of finetune appeared")


def _records(lavaflow: CommandLine) -> dict[str, dict[str, object]]:
    """The record of each finished step."""
    records = (lavaflow.home / "store").glob("*/*/record.json")
    return {path.parts[-3]: json.loads(path.read_text()) for path in records}


def _first_logged_step(lavaflow: CommandLine, step: str) -> int:
    """First training step that the second attempt wrote into the step's MLflow run."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{lavaflow.home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("lavaflow")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], f"tags.`lavaflow.step` = '{step}'")
    run = min(runs, key=lambda each: each.info.start_time)
    history = client.get_metric_history(run.info.run_id, "train/loss")
    steps = [point.step for point in history]
    assert len(steps) == len(set(steps)), "a point was logged twice"
    gaps = [b.timestamp - a.timestamp for a, b in itertools.pairwise(history)]
    restart = max(range(len(gaps)), key=lambda index: gaps[index])
    return steps[restart + 1]
