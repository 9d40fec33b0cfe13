"""Checkpoint files: complete or refused."""

import contextlib
import shutil

import pytest
import torch

from components.core.errors import CheckpointError
from components.training.checkpoints.checkpointing import (
    OtherRecipe,
    Progress,
    read,
    take_snapshot,
    write_snapshot,
)


class Pieces:
    """Three parameters of different sizes, of which each of two ranks holds a half."""

    sizes = {"connector.weight": (8, 4), "connector.bias": (7,), "lm_head.weight": (5, 4)}

    def __init__(self, rank):
        self.rank = rank

    def parameter_names(self):
        return list(self.sizes)

    def shape(self, name):
        return torch.Size(self.sizes[name])

    @classmethod
    def whole(cls, name):
        generator = torch.Generator().manual_seed(len(name))
        return {
            kind: torch.randn(cls.sizes[name], generator=generator)
            for kind in ("weight", "exp_avg", "exp_avg_sq")
        }

    def piece(self, name):
        if name == "lm_head.weight" and self.rank == 0:
            return None  # one rank may hold all of it
        half = 0 if name == "lm_head.weight" else (self.shape(name).numel() + 1) // 2
        cut = slice(half, None) if self.rank else slice(0, half)
        return half * self.rank, {k: v.flatten()[cut] for k, v in self.whole(name).items()}


class Alone(Pieces):
    """The only rank: no other's files contradict its own."""

    sizes = {"w": (4,)}

    def piece(self, name):
        return 0, {kind: tensor.flatten() for kind, tensor in self.whole(name).items()}


@pytest.fixture
def folder(tmp_path):
    for rank in range(2):
        snapshot = take_snapshot(Pieces(rank), Progress(7, [1.5, 0.1]))
        write_snapshot(snapshot, tmp_path / "step", "recipe", rank, 2)
    return tmp_path / "step"


def test_what_was_written_is_read(folder):
    saved = read(folder, "recipe")
    assert saved.progress == Progress(7, [1.5, 0.1])
    for name in Pieces.sizes:
        for kind, tensor in Pieces.whole(name).items():
            assert torch.equal(saved.tensor(kind, name), tensor)


def test_a_snapshot_is_apart_from_what_goes_on(tmp_path):
    # As DeepSpeed has them: pieces of one stretch of memory, with padding behind.
    memory = torch.arange(14.0)
    weight, exp_avg, exp_avg_sq = memory[:12].split(4)

    class Engine(Pieces):
        sizes = {"w": (4,)}

        def piece(self, name):
            return 0, {"weight": weight, "exp_avg": exp_avg, "exp_avg_sq": exp_avg_sq}

    snapshot = take_snapshot(Engine(0), Progress(1, []))
    memory += 1
    write_snapshot(snapshot, tmp_path / "one", "recipe", 0, 1)
    assert len(snapshot.copies) == 1
    assert read(tmp_path / "one", "recipe").tensor("weight", "w").tolist() == [0.0, 1.0, 2.0, 3.0]
    # The next one may use the memory of the first, and is the same.
    again = take_snapshot(Engine(0), Progress(2, []), snapshot.copies)
    memory += 1
    write_snapshot(again, tmp_path / "two", "recipe", 0, 1)
    assert read(tmp_path / "two", "recipe").tensor("exp_avg", "w").tolist() == [5.0, 6.0, 7.0, 8.0]
    assert [c.data_ptr() for c in again.copies.values()] == [
        c.data_ptr() for c in snapshot.copies.values()
    ]


def cut(folder):
    path = next(folder.glob("rank-00001*.safetensors"))
    path.write_bytes(path.read_bytes()[:-10])


def alter(folder):
    path = next(folder.glob("rank-00000*.safetensors"))
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")


def lose_rank(folder):
    for path in folder.glob("rank-00001*"):
        path.unlink()


def lose_weights(folder):
    next(folder.glob("rank-00001*.safetensors")).unlink()


def cut_manifest(folder):
    path = next(folder.glob("rank-00001*.json"))
    path.write_text(path.read_text()[:20])


def empty(folder):
    shutil.rmtree(folder)
    folder.mkdir()


def mix_steps(folder):
    write_snapshot(take_snapshot(Pieces(1), Progress(8, [])), folder, "recipe", 1, 2)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, "it was cut"),
        (alter, "altered"),
        (lose_rank, "rank-00001-of-00002.safetensors missing"),
        (lose_weights, "missing"),
        (cut_manifest, "not a complete manifest"),
        (empty, "no rank file"),
        (mix_steps, "of step 8, others of 7"),
    ],
)
def test_a_damaged_checkpoint_is_refused(folder, damage, message):
    damage(folder)
    with pytest.raises(CheckpointError, match=message):
        read(folder, "recipe")


def test_no_flipped_byte_of_a_manifest_changes_what_is_read(tmp_path):
    folder = tmp_path / "step"
    write_snapshot(take_snapshot(Alone(0), Progress(4, [0.5])), folder, "recipe", 0, 1)
    manifest = next(folder.glob("*.json"))
    sound, expected = manifest.read_bytes(), read(folder, "recipe")
    for place in range(len(sound)):
        manifest.write_bytes(sound[:place] + bytes([sound[place] ^ 1]) + sound[place + 1 :])
        with contextlib.suppress(CheckpointError):
            assert read(folder, "recipe") == expected  # white space


def test_a_checkpoint_of_another_recipe_is_told_apart(folder):
    with pytest.raises(OtherRecipe, match="another recipe"):
        read(folder, "another")


def test_a_checkpoint_of_other_parts_is_refused(folder):
    model = torch.nn.ModuleDict({"tower": torch.nn.Linear(2, 2)})
    with pytest.raises(CheckpointError, match=r"no weight of parameter 'tower\.weight'"):
        read(folder, "recipe").load_weights(model)
