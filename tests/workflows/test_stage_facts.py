"""What `plan` tells of the training stages: published hours, memory beside a GPU's, exit codes."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from components.core.errors import ConfigError
from components.training.planning.memory import GIB
from tests.model.real_bases import CLIP_L, VICUNA_13B
from tests.workflows.command_line import Lavaflow
from workflows.stage_facts import check_memory, print_facts, read_facts

ROOT = Path(__file__).parents[2]
VICUNA_7B = {"model_type": "llama"}


def base(folder: Path, language: dict[str, Any]) -> list[str]:
    """Write base folders of config.json alone; return the assignments that name them."""
    assignments = []
    for name, values in (("vision_tower", CLIP_L), ("language_model", language), ("raw", {})):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "config.json").write_text(json.dumps(values))
        if name != "raw":
            assignments.append(f"base.{name}={folder / name}")
    return assignments


@pytest.mark.parametrize(
    ("recipe", "language", "expected"),
    [
        # Stage 1 and stage 2, at 40 and 50 percent of the peak, on 8 GPUs
        ("llava15_7b", VICUNA_7B, {"A100": (2.57, 2.06, 5.87, 4.69)}),
        ("llava15_7b", VICUNA_7B, {"H100/H200": (0.81, 0.65, 1.85, 1.48)}),
        ("llava15_13b", VICUNA_13B, {"A100": (None, 4.0, None, 9.1)}),
        ("llava15_13b", VICUNA_13B, {"H100/H200": (None, 1.25, None, 2.87)}),
    ],
)
def test_hours_are_those_worked_out_for_the_published_recipe(
    recipe: str, language: dict[str, Any], expected: dict[str, Any], tmp_path: Path
) -> None:
    stages = read_facts(recipe, base(tmp_path, language)).stages
    for gpu, hours in expected.items():
        found = [stages[name].hours(gpu, mfu) for name in stages for mfu in (0.4, 0.5)]
        for one, wanted in zip(found, hours, strict=True):
            assert wanted is None or one == pytest.approx(wanted, rel=0.03)


def test_a_recipe_without_gpus_has_no_memory_and_no_hours() -> None:
    facts = read_facts("tiny", [])
    assert [stage.memory for stage in facts.stages.values()] == [None, None]
    check_memory(facts, 1.0)
    text = _printed(facts, None)
    assert "not estimated: the workers have no GPUs" in text
    assert "hours" not in text
    # 36 patches of a 6 x 6 grid and the assumed text
    assert "70 tokens" in text
    assert read_facts("tiny_base", []).stages == {}


def test_blocks_show_parts_total_and_the_gpu(tmp_path: Path) -> None:
    facts = read_facts("llava15_7b", base(tmp_path, VICUNA_7B))
    text = _printed(facts, 80)
    assert "7.06 B, of which 21.0 M learn" in text
    assert "7.06 B, of which 6.76 B learn" in text
    assert "13.2 GiB  weights" in text  # 2 x 7.06 B in stage 1
    assert "9.4 GiB  optimizer state" in text  # 12 x 6.76 B / 8 in stage 2
    assert "of 80 GiB per GPU on 8 GPUs" in text
    assert "558,128 samples" in text and "665,298 samples" in text
    assert "of 80 GiB" not in _printed(facts, None)
    check_memory(facts, 80)
    check_memory(facts, None)


def test_all_stages_that_cannot_fit_are_named(tmp_path: Path) -> None:
    facts = read_facts("llava15_13b", base(tmp_path, VICUNA_13B))
    with pytest.raises(ConfigError) as caught:
        check_memory(facts, 36)
    assert "pretrain does not fit" in str(caught.value)
    assert "finetune does not fit" in str(caught.value)
    assert "set finetune.micro_batch=8" in str(caught.value)


def test_sizes_that_are_not_known_are_one_line(tmp_path: Path) -> None:
    facts = read_facts("llava15_7b", base(tmp_path, {"model_type": "mamba"}))
    assert facts.stages == {} and facts.to_json() == {}
    assert "No estimate of memory and hours" in _printed(facts, None)
    assert "'mamba'" in _printed(facts, None)
    with pytest.raises(ConfigError, match="mamba"):
        check_memory(facts, 80)


def test_plan_shows_the_stages_and_refuses_what_cannot_fit(
    tmp_path: Path, lavaflow: Lavaflow
) -> None:
    words = ["plan", "llava15_7b"]
    for assignment in [*base(tmp_path, VICUNA_7B), f"raw_uri={tmp_path / 'raw'}"]:
        words += ["--set", assignment]
    shown = lavaflow(*words)
    assert shown.returncode == 0, shown.stderr
    assert "TFLOP per sample of 610 tokens" in shown.stdout
    refused = lavaflow(*words, "--gpu-memory-gb", "16")
    assert refused.returncode == 2
    assert "finetune does not fit into its GPUs" in refused.stderr
    assert "choose a smaller language model or larger GPUs" in refused.stderr


def test_the_micro_batch_is_the_largest_that_fits(tmp_path: Path) -> None:
    # The recipe with LoRA says that it fits into 24 GB.
    facts = read_facts("llava15_7b_lora", base(tmp_path, VICUNA_7B), 24)
    assert [stage.config.micro_batch for stage in facts.stages.values()] == [16, 16]
    check_memory(facts, 24)
    text = _printed(facts, 24)
    assert "micro-batch 16 in place of 32, to fit; the global batch stays 256" in text
    assert text.count(", to fit;") == 1


def test_plan_as_json_stays_json(tmp_path: Path, lavaflow: Lavaflow) -> None:
    words = ["plan", "llava15_7b", "--json", "--gpu-memory-gb", "16"]
    for assignment in [*base(tmp_path, VICUNA_7B), f"raw_uri={tmp_path / 'raw'}"]:
        words += ["--set", assignment]
    result = lavaflow(*words)
    assert result.returncode == 2
    rows = {row["name"]: row for row in json.loads(result.stdout)}
    assert [name for name, row in rows.items() if "memory" in row] == ["pretrain", "finetune"]
    told = rows["finetune"]["memory"]
    assert told["num_trainable"] == 20_979_712 + 6_738_939_904
    assert told["bytes_per_gpu"]["optimizer"] == round(12 * told["num_trainable"] / 8)
    assert told["bytes_per_gpu"]["total"] > 16 * GIB
    assert told["micro_batch"] == 16
    assert told["hours"]["A100"]["50%"] == pytest.approx(4.69, rel=0.03)


def test_facts_need_no_heavy_library() -> None:
    heavy = ("torch", "transformers", "ray", "mlflow", "deepspeed")
    code = (
        "import sys; from workflows.stage_facts import read_facts; read_facts('tiny', []); "
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def _printed(facts: Any, gpu_memory_gb: float | None) -> str:
    console = Console(file=io.StringIO(), width=200)
    print_facts(console, facts, gpu_memory_gb)
    return console.file.getvalue()  # type: ignore[attr-defined]
