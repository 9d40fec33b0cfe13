"""A stage on a real Ray cluster: workers, checkpoints, a crash, the finished folder."""

import contextlib
import json
import shutil
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from components.core.errors import (
    CheckpointError,
    ClusterError,
    ConfigError,
    Stopped,
    StoreError,
    TrainingError,
)
from components.training import trainer
from components.training.checkpoints.checkpointing import OtherRecipe
from components.training.materials import Materials
from components.training.planning import room as cluster_room
from components.training.workers.job import WorkerJob
from tests.training.kills import Kill, KilledMaterials, Points
from tests.training.tiny import stage

PRETRAIN = {
    "name": "pretrain",
    "train": ("connector",),
    "template": "plain",
    "zero_stage": 2,
    "num_workers": 2,
}
FINETUNE = {"num_workers": 2, "checkpoint_every_steps": 2, "max_failures": 1}


@pytest.fixture(scope="module")
def cluster():
    import ray

    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.mark.ray
@pytest.mark.slow
class TestStages:
    """One story, because starting workers costs more than anything they do here."""

    @pytest.fixture(scope="class")
    def pretrained(self, cluster, base, prepared, tmp_path_factory):
        root = tmp_path_factory.mktemp("pretrain")
        points = Points(root / "points.jsonl")
        arguments = [stage(**PRETRAIN), prepared / "pretrain", base, root / "model", "run-a"]
        record = trainer.train_stage(*arguments, str(root / "storage"), points)
        return root, record, points, arguments

    @pytest.fixture(scope="class")
    def finetuned(self, cluster, prepared, pretrained, tmp_path_factory):
        root = tmp_path_factory.mktemp("finetune")
        record = trainer.train_stage(
            stage(**FINETUNE),
            partial(Path, prepared, "finetune"),  # brought by each machine itself
            partial(Path, pretrained[0], "model"),
            root / "model",
            "run-b",
            str(root / "storage"),
        )
        return root, record

    def test_pretrain_changes_the_connector_alone(self, pretrained):
        root, record, points, _ = pretrained
        config, _, start = pretrained[3][:3]
        before, after = (
            Materials(path, str(pretrained[3][1])).open_model(config).model.state_dict()
            for path in (start, str(root / "model"))
        )
        changed = {name for name, old in before.items() if not torch.equal(after[name], old)}
        assert {name.split(".")[-2] for name in changed} == {"linear_1", "linear_2"}
        assert (record.stage, record.num_steps, record.num_samples) == ("pretrain", 3, 24)
        assert record.num_trainable == sum(before[name].numel() for name in changed)
        steps = points.read()
        assert [point["step"] for point in steps] == [1, 2, 3]
        assert record.final_loss == pytest.approx(sum(p["train/loss"] for p in steps) / 3)
        assert {"train/learning_rate", "train/samples_per_s", "train/grad_norm"} < set(steps[0])
        assert steps[0]["train/loss/llava_pretrain"] == pytest.approx(steps[0]["train/loss"])
        assert 0 <= steps[0]["train/data_wait_share"] <= 1
        assert steps[0]["train/model_tflops_per_s"] > 0

    def test_a_finished_run_is_not_run_again(self, pretrained, tmp_path):
        root, record, _, arguments = pretrained
        again = [*arguments[:3], tmp_path / "again", "run-a", str(root / "storage")]
        for _ in range(2):  # the second time over what the first one left
            assert trainer.train_stage(*again) == record
            assert [path.name for path in tmp_path.iterdir()] == ["again"]
            assert (tmp_path / "again" / "lavaflow.json").is_file()
        with pytest.raises(CheckpointError, match="finished by another recipe"):
            trainer.train_stage(stage(**PRETRAIN, epochs=2), *again[1:])

    def test_finetune_leaves_a_folder_that_transformers_loads(self, finetuned):
        from transformers import LlavaForConditionalGeneration, LlavaProcessor

        root, record = finetuned
        model, info = LlavaForConditionalGeneration.from_pretrained(
            root / "model", output_loading_info=True
        )
        assert not info["missing_keys"] and not info["unexpected_keys"]
        assert sum(p.numel() for p in model.parameters()) == record.num_parameters
        assert LlavaProcessor.from_pretrained(root / "model").tokenizer.pad_token == "<pad>"
        kept = {path.name[:13] for path in (root / "storage" / "run-b").glob("step-*")}
        assert kept == {"step-00000004"}  # with the final one, the two newest

    def test_a_killed_worker_changes_nothing(
        self, finetuned, prepared, pretrained, tmp_path, monkeypatch
    ):
        """Rank 1 dies at step 4, after the checkpoint of step 2: same bits, no point twice."""
        dies = Kill(step=3, rank=1, delay_s=0.0, worker=True, driver=False)
        told = {"kills": (dies,), "marks_path": str(tmp_path)}
        monkeypatch.setattr(trainer, "Materials", lambda *a: KilledMaterials(*a, **told))
        points = Points(tmp_path / "points.jsonl")
        record = trainer.train_stage(
            stage(**FINETUNE),
            prepared / "finetune",
            pretrained[0] / "model",
            tmp_path / "model",
            "run-c",
            str(tmp_path / "storage"),
            points,
        )
        assert (tmp_path / "kill-0").exists()
        assert record == finetuned[1]
        files = [folder / "model" / "model.safetensors" for folder in (tmp_path, finetuned[0])]
        assert files[0].read_bytes() == files[1].read_bytes()
        steps = [point["step"] for point in points.read()]
        assert steps == sorted(set(steps))
        assert steps[-1] == record.num_steps

    def test_a_run_that_is_asked_to_stop_saves_its_step_and_goes_on_from_it(
        self, finetuned, prepared, pretrained, tmp_path
    ):
        points = Points(tmp_path / "points.jsonl")
        arguments = [
            stage(**{**FINETUNE, "checkpoint_every_steps": 0}),
            prepared / "finetune",
            pretrained[0] / "model",
            tmp_path / "model",
            "run-d",
            str(tmp_path / "storage"),
            points,
        ]
        request = tmp_path / "stop"
        request.touch()
        with pytest.raises(Stopped, match="after step 1, which is saved"):
            trainer.train_stage(*arguments, stop_uri=str(request))
        assert not (tmp_path / "model").exists()
        request.unlink()
        record = trainer.train_stage(*arguments, stop_uri=str(request))
        assert record == finetuned[1]
        files = [folder / "model" / "model.safetensors" for folder in (tmp_path, finetuned[0])]
        assert files[0].read_bytes() == files[1].read_bytes()
        assert [point["step"] for point in points.read()] == [1, 2, 3, 4, 5, 6]

    def test_a_cut_list_of_checkpoints_and_remains_of_a_kill_lose_nothing(
        self, finetuned, prepared, pretrained, tmp_path
    ):
        """A full disk cuts Ray Train's list, a kill leaves half a checkpoint that is not on it."""
        run = tmp_path / "storage" / "run-b"
        shutil.copytree(finetuned[0] / "storage" / "run-b", run)
        (run / "checkpoint_manager_snapshot.json").write_bytes(b"")
        half = run / "step-00000005-dead"
        half.mkdir()
        shutil.copy(next(run.glob("step-00000004-*/rank-00000*.json")), half)
        points = Points(tmp_path / "points.jsonl")
        arguments = [pretrained[0] / "model", tmp_path / "model", "run-b", str(run.parent), points]
        other = tmp_path / "other"
        shutil.copytree(prepared / "finetune", other)
        facts = other / "prepared.json"
        digest = json.loads(facts.read_text())["content_digest"]
        facts.write_text(facts.read_text().replace(digest, "0" * len(digest)))
        with pytest.raises(OtherRecipe, match="or from other data"):
            trainer.train_stage(stage(**FINETUNE), other, *arguments)
        record = trainer.train_stage(stage(**FINETUNE), prepared / "finetune", *arguments)
        assert record == finetuned[1]
        assert [point["step"] for point in points.read()] == [5, 6]
        files = [folder / "model" / "model.safetensors" for folder in (tmp_path, finetuned[0])]
        assert files[0].read_bytes() == files[1].read_bytes()
        assert not half.exists()

    def test_adapters_are_merged_into_a_folder_like_any_other(
        self, finetuned, prepared, pretrained, tmp_path
    ):
        start = pretrained[0] / "model"
        record = trainer.train_stage(
            stage(**FINETUNE, lora={"rank": 4, "alpha": 8}),
            prepared / "finetune",
            start,
            tmp_path / "model",
            "run-lora",
            str(tmp_path / "storage"),
        )
        assert record.num_trainable < finetuned[1].num_trainable
        folders = (start, tmp_path / "model")
        before, after = (load_file(folder / "model.safetensors") for folder in folders)
        assert before.keys() == after.keys()
        changed = {name for name in before if not torch.equal(before[name], after[name])}
        assert any("q_proj" in name for name in changed)
        assert not any("vision" in n or "lm_head" in n or "embed" in n for n in changed)

    def test_a_loss_that_is_not_finite_stops_with_one_line(self, cluster, base, prepared, tmp_path):
        wild = stage(**PRETRAIN, learning_rate=1e30, gradient_clipping=0.0)
        with pytest.raises(TrainingError, match=r"^step \d: the \S+.* is (nan|inf)") as caught:
            trainer.train_stage(
                wild, prepared / "pretrain", base, tmp_path / "model", "run", str(tmp_path)
            )
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "model").exists()

    def test_more_workers_than_the_cluster_has_are_refused(self, cluster, base, tmp_path):
        many = stage(num_workers=4)
        with pytest.raises(ClusterError, match=r"wants 4 workers .* room for 2"):
            trainer.train_stage(many, tmp_path, base, tmp_path / "model", "run", str(tmp_path))

    def test_a_store_that_takes_nothing_is_named(self, cluster, base, tmp_path):
        taken = tmp_path / "taken"
        taken.touch()
        where = ("run", str(taken / "storage"))
        with pytest.raises(StoreError, match=r"taken/storage.* choose another store"):
            trainer.train_stage(stage(), tmp_path, base, tmp_path / "model", *where)

    @pytest.mark.parametrize(("limit", "refused"), [(4, False), (3, True), (None, True)])
    def test_nodes_that_an_autoscaler_may_add_are_waited_for(
        self, cluster, limit, refused, monkeypatch
    ):
        limits = None if limit is None else {"CPU": limit}
        monkeypatch.setattr(cluster_room, "autoscaler_limits", lambda: limits)
        with pytest.raises(ClusterError) if refused else contextlib.nullcontext():
            cluster_room.check_cluster(stage(num_workers=4))


def test_a_batch_that_cannot_be_shared_is_refused_before_anything_starts(base, tmp_path):
    with pytest.raises(ConfigError, match="cannot be shared evenly by 3"):
        trainer.train_stage(
            stage(num_workers=3), tmp_path, base, tmp_path / "model", "run", str(tmp_path)
        )


def test_a_store_that_is_full_during_an_upload_is_named(tmp_path):
    class Failed(Exception):  # as Ray Train's, with the exception of each rank
        worker_failures = {
            0: RuntimeError("Connection closed by peer"),
            1: OSError(28, "Error writing bytes to file"),
        }

    job = WorkerJob(stage(), Materials("start", "data"), "recipe", str(tmp_path), "run")
    told = trainer._readable(Failed(), job)
    assert isinstance(told, StoreError)
    assert f"{tmp_path}/run: the disk (or the quota) is full" in str(told)
    assert "run the same command again" in str(told)
