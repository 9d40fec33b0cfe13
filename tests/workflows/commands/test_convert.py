"""`lavaflow export` and `lavaflow import`: what is written, what the last line says, exit codes."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from components.core.store import Store
from components.data.config import ImageSpec
from components.model.build import build_llava
from components.model.checkpoint import load_checkpoint, save
from components.model.convert.export import export_model
from components.registry.versions import Registration, Registry
from tests.conftest import BUCKET
from tests.training.tiny import write_base
from tests.workflows.command_line import Lavaflow

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of ours, the parts it was built of, and its export."""
    path = tmp_path_factory.mktemp("parts")
    base = write_base(path)
    built = build_llava(base.vision_tower_path, base.language_model_path)
    save(built.model, built.tokenizer, path / "model", ImageSpec(size_px=28), "vicuna_v1")
    export_model(path / "model", path / "llava-tiny", "original")
    return path


def test_there_and_back(parts: Path, tmp_path: Path, lavaflow: Lavaflow) -> None:
    there = lavaflow("export", parts / "model", "llava-there", "--layout", "original")
    assert there.returncode == 0, there.stderr
    assert "python -m llava.eval.run_llava --model-path llava-there" in there.stdout
    assert "Copy tokenizer.model" in there.stdout
    assert "must contain llava" not in there.stdout
    back = lavaflow("import", "llava-there", "back")
    assert back.returncode == 0, back.stderr
    last = back.stdout.splitlines()[-1].strip()
    assert last == "lavaflow adopt RECIPE finetune back --record record.json"
    before, after = (
        load_checkpoint(path).model.state_dict() for path in (parts / "model", tmp_path / "back")
    )
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_hub_layout(parts: Path, tmp_path: Path, lavaflow: Lavaflow) -> None:
    result = lavaflow("export", parts / "model", "hub", "--layout", "llava-hf")
    assert result.returncode == 0, result.stderr
    last = result.stdout.splitlines()[-1].strip()
    assert last == 'LlavaForConditionalGeneration.from_pretrained("hub")'


def test_the_connector_alone(parts: Path, tmp_path: Path, lavaflow: Lavaflow) -> None:
    there = lavaflow("export", parts / "model", "stage1", "--layout", "connector")
    assert there.returncode == 0, there.stderr
    assert "lavaflow import stage1 MODEL --language-model FOLDER" in there.stdout
    base = ("--language-model", parts / "language_model", "--vision-tower", parts / "tower")
    back = lavaflow("import", "stage1", "back", *base)
    assert back.returncode == 0, back.stderr
    assert load_checkpoint(tmp_path / "back").template == "vicuna_v1"


def test_the_tower_and_the_template_of_a_foreign_folder(
    parts: Path, tmp_path: Path, lavaflow: Lavaflow
) -> None:
    foreign = tmp_path / "foreign"
    shutil.copytree(parts / "llava-tiny", foreign, ignore=shutil.ignore_patterns("lavaflow"))
    without = lavaflow("import", foreign, tmp_path / "ours")
    assert without.returncode == 6
    assert "--vision-tower" in without.stderr
    words = ("--vision-tower", parts / "tower", "--template", "plain")
    result = lavaflow("import", foreign, tmp_path / "ours", *words)
    assert result.returncode == 0, result.stderr
    assert load_checkpoint(tmp_path / "ours").template == "plain"


def test_a_registered_version_is_exported(parts: Path, tmp_path: Path, lavaflow: Lavaflow) -> None:
    tracking = f"sqlite:///{tmp_path / 'mlflow.db'}"
    uri = str(parts / "model")
    registration = Registration(checkpoint_uri=uri, checkpoint_digest="0" * 64)
    Registry(tracking).register("tiny", registration)
    words = ("--layout", "original", "--tracking-uri", tracking, "--home", tmp_path / "home")
    for reference, target in (("tiny@candidate", "llava-a"), ("tiny/1", "llava-b")):
        result = lavaflow("export", reference, tmp_path / target, *words)
        assert result.returncode == 0, result.stderr
        assert (tmp_path / target / "model.safetensors").is_file()
    absent = lavaflow("export", "tiny/7", tmp_path / "llava-c", *words)
    assert absent.returncode == 9
    assert not (tmp_path / "llava-c").exists()


def test_a_folder_in_an_object_store_is_imported(
    parts: Path, tmp_path: Path, s3_environment: str, lavaflow: Lavaflow
) -> None:
    Store(f"s3://{BUCKET}/models").upload(parts / "llava-tiny", "llava-tiny")
    result = lavaflow("import", f"s3://{BUCKET}/models/llava-tiny", tmp_path / "ours")
    assert result.returncode == 0, result.stderr
    load_checkpoint(tmp_path / "ours")


MISTAKES = [
    (["export", "none", "new", "--layout", "original"], 2, "none: no such folder"),
    (["export", "model", "new"], 2, "--layout"),
    (["export", "model", "new", "--layout", "other"], 2, "original"),
    (["export", "model", "tower", "--layout", "original"], 2, "not empty"),
    (["export", "model", "s3://bucket/new", "--layout", "original"], 2, "no local folder"),
    (["export", "tower", "new", "--layout", "original"], 6, "no lavaflow.json"),
    (["import", "model", "new"], 6, "already"),
    (["import", "tower", "new"], 6, "expected a LLaVA-1.5"),
    (["import", "llava-tiny", "new", "--template", "plain"], 2, "'vicuna_v1'"),
    (["import", "llava-tiny", "new", "--language-model", "language_model"], 2, "connector alone"),
]


@pytest.mark.parametrize(("words", "code", "text"), MISTAKES, ids=lambda value: str(value)[:40])
def test_a_mistake_gets_a_message_and_an_exit_code(
    words: list[str],
    code: int,
    text: str,
    parts: Path,
    lavaflow: Lavaflow,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(parts)
    before = sorted(parts.iterdir())
    result = lavaflow(*words)
    assert result.returncode == code, result.stderr
    assert text in (result.stdout + result.stderr).replace("\n", " ")
    assert "Traceback" not in result.stderr
    assert sorted(parts.iterdir()) == before


@pytest.mark.parametrize("command", ["export", "import"])
def test_every_command_has_help_and_starts_light(command: str) -> None:
    code = (
        "import sys; from workflows.cli import main\n"
        f"sys.argv = ['lavaflow', {command!r}, '--help']\n"
        "try: main()\n"
        "finally: print('loaded:', 'torch' in sys.modules or 'transformers' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0
    assert "Usage" in result.stdout
    assert "loaded: False" in result.stdout
