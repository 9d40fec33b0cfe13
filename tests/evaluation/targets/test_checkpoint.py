"""A checkpoint answers the same in batches as one by one, and tells what it could not read."""

import dataclasses
import logging
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from components.core.errors import CheckpointError
from components.evaluation.benchmark import Question
from components.evaluation.config import EvaluationConfig
from components.evaluation.evaluate import evaluate
from components.evaluation.targets.checkpoint import CheckpointTarget


def asked(folder: Path) -> list[Question]:
    """Questions of several lengths, with and without images, on files and on bytes."""
    images = sorted((folder / "eval" / "gqa" / "images").glob("*.jpg"))
    questions = [
        Question(str(n), "gqa", "Is there a dog? " * (1 + n % 4), "yes", str(images[n % 3]))
        for n in range(9)
    ]
    questions.append(Question("text", "gqa", "Is there a cat?", "yes"))
    questions.append(Question("b", "gqa", "?", "A", image_bytes=images[1].read_bytes()))
    lengths = (6, 3)
    return [dataclasses.replace(q, max_new_tokens=lengths[n % 2]) for n, q in enumerate(questions)]


def test_batches_answer_as_single_questions(tiny_checkpoint: Path, gqa_root: Path) -> None:
    questions = asked(gqa_root)
    batched = CheckpointTarget(tiny_checkpoint, device="cpu", batch_size=4).answer(questions)
    alone = CheckpointTarget(tiny_checkpoint, device="cpu", batch_size=1)
    assert batched == [alone.answer([question])[0] for question in questions]
    assert all(answer is not None and answer == answer.strip() for answer in batched)


def test_a_broken_image_costs_one_answer(
    tiny_checkpoint: Path, gqa_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = gqa_root / "eval" / "gqa" / "images"
    (folder / "n0.jpg").write_bytes(b"not an image")
    (folder / "n1.jpg").unlink()
    target = CheckpointTarget(tiny_checkpoint, device="cpu", batch_size=4)
    config = EvaluationConfig(bootstrap_samples=100, blind_control=False)
    short = _Short(target)
    with caplog.at_level(logging.WARNING):
        scores = evaluate(config, "gqa", gqa_root, short, gqa_root / "out")
    assert scores.num_missing == 4
    assert "n1.jpg" in caplog.text
    assert "n0.jpg" in caplog.text


def test_images_are_decoded_once(
    tiny_checkpoint: Path, gqa_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from components.evaluation.targets import checkpoint as targets

    decoded = []
    original = targets.load_image
    monkeypatch.setattr(
        targets, "load_image", lambda *args: decoded.append(args) or original(*args)
    )
    target = CheckpointTarget(tiny_checkpoint, device="cpu")
    target.answer(asked(gqa_root)[:9])
    target.answer(asked(gqa_root)[:9])
    assert len(decoded) == 3


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"lavaflow\.json"):
        CheckpointTarget(tmp_path)


class _Short:
    """The same target, decoding a few tokens only: random weights never end an answer."""

    def __init__(self, target: CheckpointTarget) -> None:
        self.target = target

    def answer(self, questions: list[Question]) -> list[str | None]:
        return self.target.answer([dataclasses.replace(q, max_new_tokens=2) for q in questions])


ALLOCATION = """
import resource, sys
import torch
from components.evaluation.targets.checkpoint import keep_freed_memory

torch.set_num_threads(1)
if sys.argv[1] == "kept":
    assert keep_freed_memory()

def layer():
    states = torch.ones(64, 64 * 1024 // 4)  # 4 MiB
    return (states * 2).sum() + (states + 1).sum()

layer()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(40):
    layer()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")
def test_pages_are_taken_once() -> None:
    command = [sys.executable, "-c", ALLOCATION]
    faults = {
        way: int(subprocess.run([*command, way], check=True, capture_output=True).stdout)
        for way in ("kept", "given back")
    }
    assert faults["kept"] < faults["given back"] / 2
