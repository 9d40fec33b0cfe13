"""The command line: help, exit codes and one readable message for a user's mistake."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.workflows.command_line import Lavaflow

ROOT = Path(__file__).parents[2]

MISTAKES = [
    (["run", "tinny"], 2, "did you mean tiny?"),
    (["plan", "tiny", "--set", "finetune.learning_rat=1"], 2, "did you mean learning_rate"),
    (["plan", "tiny", "--set", "finetune.learning_rate=fast"], 2, "finetune.learning_rate"),
    (["plan", "tiny", "--set", "finetune"], 2, "KEY=VALUE"),
    (["plan", "tiny", "--only", "finetun"], 2, "finetune"),
    (["plan", "tiny", "--set", "finetune.micro_batch=7"], 2, "choose one of"),
    (["run", "tiny", "--colour", "red"], 2, "--colour"),
    (["unknown"], 2, "unknown"),
    (["plan", "llava15_7b"], 2, "base.vision_tower"),
    (["plan", "tiny", "--store", "/proc/nowhere"], None, "/proc/nowhere"),
    (["submit", "tiny", "--address", "http://127.0.0.1:9"], 8, "http://127.0.0.1:9"),
    (["submit", "tiny"], 2, "--address"),
    (["scale", "--replicas", "0"], 2, "replicas"),
    (["chat", "no-such.jpg", "What?", "--url", "http://127.0.0.1:9"], None, "no-such.jpg"),
    (["promote"], 9, "lavaflow run tiny"),
    (["adopt", "tiny", "pretrain", "/nowhere"], None, "pretrain"),
]


@pytest.mark.parametrize(("words", "code", "text"), MISTAKES, ids=lambda value: str(value)[:40])
def test_a_mistake_gets_a_message_and_an_exit_code(
    words: list[str], code: int | None, text: str, lavaflow: Lavaflow
) -> None:
    result = lavaflow(*words)
    output = result.stdout + result.stderr
    assert "Traceback" not in output
    assert result.returncode == code if code is not None else result.returncode in (2, 3, 4, 9)
    assert text in output.replace("\n", " ")


@pytest.mark.parametrize(
    "command",
    [
        "run",
        "plan",
        "recipes",
        "status",
        "submit",
        "promote",
        "scale",
        "deploy",
        "chat",
        "models",
        "pin",
        "adopt",
        "stop",
        "data",
    ],
)
def test_every_command_has_help(command: str, lavaflow: Lavaflow) -> None:
    result = lavaflow(command, "--help")
    assert result.returncode == 0
    assert "Usage" in result.stdout


def test_nothing_registered_nothing_running(lavaflow: Lavaflow) -> None:
    assert "lavaflow run tiny" in lavaflow("models").stdout
    assert "Nothing runs" in lavaflow("stop").stdout
    status = lavaflow("status")
    assert status.returncode == 0
    assert "No step has run yet" in status.stdout


def test_a_process_of_its_own_ends_with_the_code_and_one_message(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "workflows.cli", "run", "tinny"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 2
    assert "did you mean tiny?" in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stdout + done.stderr
