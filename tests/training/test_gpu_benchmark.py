"""The GPU benchmark runs, and both of its sides do equal work; tiny, on the CPU."""

import json

import pytest
import torch

from components.model.learning.freeze import count_parameters, freeze_for_stage
from tests.benchmarks import gpu_training
from tests.benchmarks.gpu_samples import STAGES, draw_steps, text_lengths
from tests.benchmarks.gpu_shapes import ROOM, SIZES, fitting, random_llava, static_bytes
from tests.benchmarks.gpu_sides import Ours, Peer, Setting, shared_adam

TINY = ["--model", "tiny", "--rounds", "1", "--steps", "2", "--peer-micro-batch", "16", "5"]


def test_both_sides_have_the_same_losses_and_gradients(tmp_path, capsys):
    results = gpu_training.main([*TINY, "--json", str(tmp_path / "found.json")])
    for result in results:
        ours, *peers = result.rows
        # Without a GPU there is no peak to have a share of.
        assert ours.mfu is None
        assert ours.samples_per_s > 0
        for peer in peers:
            assert ours.first_loss == pytest.approx(peer.first_loss, rel=1e-4)
            assert ours.first_norm == pytest.approx(peer.first_norm, rel=1e-4)
            assert peer.ratios == [pytest.approx(peer.turns_s[0] / ours.turns_s[0])]
    assert [len(result.rows) for result in results] == [3, 2]
    found = json.loads((tmp_path / "found.json").read_text())
    assert [stage["stage"] for stage in found["stages"]] == ["pretrain", "finetune"]
    assert found["machine"]["torch"] == torch.__version__
    assert "equal work" in capsys.readouterr().out


def test_a_setting_without_memory_is_a_row(monkeypatch):
    def exhausted(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(Peer, "step", exhausted)
    (result,) = gpu_training.main([*TINY, "--stages", "pretrain", "--steps", "1"])
    assert [bool(row.samples_per_s) for row in result.rows] == [True, False, False]
    assert result.rows[1].setting == "out of memory in each setting"
    assert result.tried[-1].endswith("5 samples at once, no checkpointing: out of memory")


def test_both_sides_agree_in_bf16():
    size, work = SIZES["tiny"], STAGES["finetune"]
    model = random_llava(size, torch.device("cpu"), torch.bfloat16, 0)
    freeze_for_stage(model, work.train)
    adam = shared_adam(model)
    steps = draw_steps(work, size, 1, 0)
    found = []
    ours, peer = Ours(model, size, adam), Peer("peer", 1, model, size, adam)
    for side, amount in ((ours, 400), (peer, 8)):
        side.use(Setting(amount, 1), steps)
        found.append(side.step(0, 0.0))
    # bf16 keeps 8 bits; means over hundreds of tokens even that out.
    assert found[0] == pytest.approx(found[1], rel=1e-2)


@pytest.mark.parametrize("name", ["7b", "13b"])
def test_models_have_the_sizes_that_are_counted(name):
    size, stage = SIZES[name], STAGES["finetune"]
    model = random_llava(size, torch.device("meta"), torch.bfloat16, 0)
    assert count_parameters(model).total == size.shapes.total
    assert freeze_for_stage(model, stage.train).trainable == size.shapes.learning(stage.train)


def test_a_small_gpu_gets_as_many_layers_as_fit():
    size, train = SIZES["7b"], STAGES["finetune"].train
    assert fitting(size, train, 139 * 2**30).shapes == size.shapes
    fewer = fitting(size, train, 79 * 2**30).shapes
    assert 0 < fewer.language.layers < 32
    assert static_bytes(fewer, train) + ROOM <= 79 * 2**30


def test_samples_are_as_long_as_assumed():
    size = SIZES["7b"]
    for work, spread in ((STAGES["pretrain"], 1), (STAGES["finetune"], 3)):
        lengths = text_lengths(work, size, 64)
        assert sum(lengths) / 64 == pytest.approx(work.text_tokens, abs=1)
        assert max(lengths) > spread * work.text_tokens
