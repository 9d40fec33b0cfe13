"""DeepSpeed's steps equal plain ones; a resumed run equals an uninterrupted one bit for bit."""

import json
import subprocess
import sys

import pytest
import torch

from components.training.checkpoints.checkpointing import read
from components.training.engines.engine import SummedLoss, optimizer_for
from components.training.loop import train_step
from tests.training.plain import Alone, PlainEngine
from tests.training.tiny import stage
from tests.training.two_ranks import STEPS

pytestmark = pytest.mark.slow

CASES = ["zero2-fp32", "zero3-fp32", "zero3-bf16", "zero2-fp32-lora", "zero3-bf16-lora"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, base, prepared):
    """Results of two ranks, four steps each, resumed at the second."""
    root = tmp_path_factory.mktemp("ranks")
    (root / "base.json").write_text(base.model_dump_json())
    (root / "data").write_text(str(prepared / "finetune"))
    (root / "world_size").write_text("2")
    command = [sys.executable, "-m", "tests.training.two_ranks"]
    runs = [
        subprocess.Popen([*command, str(rank), str(root)], stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    for run in runs:
        _, errors = run.communicate(timeout=400)
        assert run.returncode == 0, errors[-3000:]
    return root


@pytest.mark.parametrize("case", CASES)
def test_a_resumed_run_ends_with_the_same_bits(folder, case):
    numbers = json.loads((folder / case / "numbers.json").read_text())
    assert numbers["again"] == numbers["numbers"][2:]
    assert numbers["recent"] == [loss for loss, _ in numbers["numbers"][:2]]
    results = torch.load(folder / case / "weights.pt", weights_only=True)
    # Weight and two moments of each learning parameter: all of them, or 4 of the connector and two
    # for each of 14 linear layers.
    assert len(results["final"]) == 3 * (4 + 2 * 14 if "lora" in case else 25)
    for name, tensor in results["final"].items():
        assert torch.equal(tensor, results["resumed"][name]), name


@pytest.mark.parametrize("case", ["zero2-fp32", "zero3-fp32"])
def test_two_zero_ranks_equal_one_plain_process(folder, materials, case):
    config = stage()
    opened = materials.open_model(config)
    opened.set_up(config)
    module = SummedLoss(opened.loss_module())
    plain = PlainEngine(module, optimizer_for(module, config), 1.0)
    batches = materials.open_batches(opened, config, 0, 1).batches()
    expected = [train_step(plain, lambda: next(batches), 1e-2, 8, Alone()) for _ in range(STEPS)]
    numbers = json.loads((folder / case / "numbers.json").read_text())["numbers"]
    for (loss, norm), outcome in zip(numbers, expected, strict=True):
        # The terms of the sums come in another order; four steps of Adam amplify the last bits.
        assert loss == pytest.approx(outcome.loss, rel=1e-4)
        assert norm == pytest.approx(outcome.grad_norm, rel=1e-3)


def test_a_checkpoint_of_two_ranks_goes_on_in_one_process(folder, materials):
    """The files are whole tensors, so any number of workers can read them."""
    config = stage()
    opened = materials.open_model(config)
    opened.set_up(config)
    saved = read(folder / "zero3-fp32" / "shards", "recipe")
    saved.load_weights(opened.model)
    batches = materials.open_batches(opened, config, 0, 1).batches(saved.progress.step)
    module = SummedLoss(opened.loss_module())
    optimizer = optimizer_for(module, config)
    for name, parameter in opened.model.named_parameters():
        if parameter.requires_grad:
            optimizer.state[parameter] = {
                "step": torch.tensor(float(saved.progress.step)),
                "exp_avg": saved.tensor("exp_avg", name),
                "exp_avg_sq": saved.tensor("exp_avg_sq", name),
            }
    plain = PlainEngine(module, optimizer, 1.0)
    losses = [train_step(plain, lambda: next(batches), 1e-2, 8, Alone()).loss for _ in range(2)]
    numbers = json.loads((folder / "zero3-fp32" / "numbers.json").read_text())["numbers"]
    assert losses == pytest.approx([loss for loss, _ in numbers[2:]], rel=1e-4)
