"""A small run of the whole chain for the integration tests: the tiny recipe with few steps."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.loopback import free_port
from tests.workflows.command_line import CALLERS_ADDRESSES, Lavaflow, run_here

ROOT = Path(__file__).parents[2]

# Enough to run every part for real; nothing is learnt in so few steps, and no test here asks for
# it.
SMALL = {
    "pocket.num_caption_images": 200,
    "pocket.num_coco_images": 80,
    "pocket.num_gqa_images": 40,
    "pocket.num_textcaps_images": 20,
    "pocket.num_okvqa_images": 20,
    "pocket.num_ocrvqa_images": 20,
    "pocket.num_visual_genome_images": 20,
    "pocket.num_grocery_images": 20,
    "pocket.num_dialogues": 20,
    "pocket.num_benchmark_questions": 16,
    "pocket.num_benchmark_groceries": 2,
    "pretrain.max_steps": 6,
    "pretrain.log_every_steps": 2,
    "finetune.max_steps": 24,
    "finetune.epochs": 50,
    "finetune.log_every_steps": 1,
    "finetune.checkpoint_every_steps": 5,
    "evaluation.limit": 8,
    "evaluation.num_actors": 1,
    "samples.max_new_tokens": 8,
    "serving.port": free_port(),  # a service of whoever runs the tests may have the usual one
}


@dataclass(frozen=True)
class CommandLine:
    """The command line in a home of its own."""

    home: Path

    def arguments(self, *words: str) -> list[str]:
        """The full command of `lavaflow WORDS`."""
        return [sys.executable, "-m", "workflows.cli", *words, "--home", str(self.home)]

    def start(self, *words: str, **options: object) -> "subprocess.Popen[str]":
        """Start the command in a session of its own."""
        return subprocess.Popen(
            self.arguments(*words),
            cwd=ROOT,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            **options,  # type: ignore[call-overload]
        )

    def run(self, *words: str, timeout_s: float = 800) -> "subprocess.CompletedProcess[str]":
        """Run the command to its end."""
        return subprocess.run(
            self.arguments(*words),
            cwd=ROOT,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def environment(self) -> dict[str, str]:
        """The environment without the caller's addresses, in a width that cuts no line."""
        kept = {name: value for name, value in os.environ.items() if name not in CALLERS_ADDRESSES}
        return {**kept, "COLUMNS": "200", "PYTHONPATH": str(ROOT)}


def small(**changes: object) -> list[str]:
    """The `--set` options of the small run, with changes (`finetune__seed=2`)."""
    values = {**SMALL, **{name.replace("__", "."): value for name, value in changes.items()}}
    return [word for name, value in values.items() for word in ("--set", f"{name}={value}")]


@pytest.fixture(scope="session")
def lavaflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """The command line of the shared small run."""
    command_line = CommandLine(tmp_path_factory.mktemp("home"))
    yield command_line
    command_line.run("stop")


@pytest.fixture
def asking(
    lavaflow: CommandLine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Lavaflow:
    """The same command line in this process, for what only asks."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("COLUMNS", "250")
    for name in CALLERS_ADDRESSES:
        monkeypatch.delenv(name, raising=False)
    return lambda *words: run_here(monkeypatch, capsys, *words, "--home", lavaflow.home)
