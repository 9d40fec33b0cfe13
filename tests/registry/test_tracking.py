"""The MLflow mirror on a real database: nesting, resuming, monotone metrics, caching, outages."""

import itertools
import math

import pytest
from mlflow.exceptions import MlflowException

from components.core.errors import RegistryError
from components.registry import connection, names
from components.registry.tracking import MlflowTracker

numbers = itertools.count()


@pytest.fixture
def key():
    """A step key no other test uses."""
    return f"key-{next(numbers)}"


@pytest.fixture
def tracker(tracking_uri):
    tracker = MlflowTracker(tracking_uri)
    tracker.start_run("tiny", {"recipe": "tiny"}, {"lavaflow.command": "run tiny"})
    return tracker


def history(client, run_id: str, metric: str) -> list[tuple[int, float]]:
    return [(point.step, point.value) for point in client.get_metric_history(run_id, metric)]


def test_a_pipeline_run_has_a_nested_run_per_step(tracker, client, key):
    tracker.start_step("pretrain", key, {"optimizer": {"lr": 1e-3}}, {"data": "/store/prepare/p"})
    tracker.log_metrics("pretrain", {"train/loss": 2.0}, 1)
    tracker.log_metrics("pretrain", {"train/loss": 1.0, "train/tokens_per_s": 9.0}, 2)
    tracker.finish_step("pretrain", "ok", {"uri": "/store/pretrain/x", "digest": "d"})
    tracker.finish_run("ok")
    parent = client.get_run(tracker.run_id)
    assert parent.info.status == "FINISHED"
    assert parent.data.params == {"recipe": "tiny"}
    step = client.get_run(tracker.step_run_id("pretrain"))
    assert step.info.status == "FINISHED"
    assert step.info.run_name == "pretrain"
    assert step.data.tags[names.PARENT_RUN] == tracker.run_id
    assert step.data.tags[names.STEP_KEY] == key
    assert step.data.tags[names.INPUT + "data"] == "/store/prepare/p"
    assert step.data.tags[names.OUTPUT + "uri"] == "/store/pretrain/x"
    assert step.data.params == {"optimizer.lr": "0.001"}
    assert [each.dataset.name for each in step.inputs.dataset_inputs] == ["data"]
    assert history(client, step.info.run_id, "train/loss") == [(1, 2.0), (2, 1.0)]


@pytest.mark.parametrize(
    ("status", "shown"), [("ok", "FINISHED"), ("failed", "FAILED"), ("interrupted", "KILLED")]
)
def test_the_status_of_a_step_and_a_run(tracker, client, key, status, shown):
    tracker.start_step("prepare", key, {}, {})
    tracker.finish_step("prepare", status, {})
    tracker.finish_run(status)
    assert client.get_run(tracker.step_run_id("prepare")).info.status == shown
    assert client.get_run(tracker.run_id).info.status == shown


@pytest.mark.parametrize("ended", ["killed", "failed"])
def test_a_resumed_step_continues_the_same_run(tracking_uri, tracker, client, key, ended):
    tracker.start_step("finetune", key, {"lr": 1e-3, "num_workers": 2}, {"data": "a"})
    for step in range(1, 11):
        tracker.log_metrics("finetune", {"train/loss": 10.0 - step}, step)
    if ended == "failed":
        tracker.finish_step("finetune", "failed", {})
        tracker.finish_run("failed")
    assert tracker.flush(20.0)

    second = MlflowTracker(tracking_uri)
    second.start_run("tiny", {}, {})
    second.start_step("finetune", key, {"lr": 1e-3, "num_workers": 4}, {"data": "a"})
    for step in range(8, 14):  # the checkpoint was at 7: three steps come again
        second.log_metrics("finetune", {"train/loss": 20.0 - step}, step)
    second.finish_step("finetune", "ok", {})
    second.finish_run("ok")

    run_id = tracker.step_run_id("finetune")
    assert second.step_run_id("finetune") == run_id
    expected = [(step, 10.0 - step) for step in range(1, 11)]
    expected += [(step, 20.0 - step) for step in range(11, 14)]
    assert history(client, run_id, "train/loss") == expected
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags[names.ATTEMPTS] == "2"
    assert run.data.tags[names.PARENT_RUN] == second.run_id
    assert run.data.params == {"lr": "0.001", "num_workers": "2"}
    assert run.data.tags[names.CHANGED + "num_workers"] == "4"
    former = client.get_run(tracker.run_id)
    assert former.info.status == ("KILLED" if ended == "killed" else "FAILED")
    assert (names.RESUMED_BY in former.data.tags) is (ended == "killed")


def test_a_finished_step_that_is_forced_gets_a_new_run(tracker, client, key):
    for loss in (2.0, 1.0):
        tracker.start_step("pretrain", key, {}, {})
        tracker.log_metrics("pretrain", {"train/loss": loss}, 1)
        tracker.finish_step("pretrain", "ok", {})
    tracker.finish_run("ok")
    assert history(client, tracker.step_run_id("pretrain"), "train/loss") == [(1, 1.0)]


def test_metrics_go_forward_within_one_run(tracker, client, key):
    tracker.start_step("pretrain", key, {}, {})
    for step in (1, 2, 3, 2, 3, 4):  # a worker restarted at its checkpoint
        tracker.log_metrics("pretrain", {"train/loss": float(step)}, step)
    tracker.flush(20.0)
    for step in (4, 5):
        tracker.log_metrics("pretrain", {"train/loss": float(step), "train/other": 0.0}, step)
    tracker.finish_run("ok")
    run_id = tracker.step_run_id("pretrain")
    assert [step for step, _ in history(client, run_id, "train/loss")] == [1, 2, 3, 4, 5]
    assert [step for step, _ in history(client, run_id, "train/other")] == [4, 5]


def test_a_final_score_can_be_given_again(tracker, client, key):
    tracker.start_step("evaluate", key, {}, {})
    tracker.log_metrics("evaluate", {"eval/pope/f1": 80.0}, None)
    tracker.log_metrics("evaluate", {"eval/pope/f1": 90.0}, None)
    tracker.finish_run("ok")
    run = client.get_run(tracker.step_run_id("evaluate"))
    assert run.data.metrics == {"eval/pope/f1": 90.0}


def test_a_value_that_is_no_number_is_kept(tracker, client, key):
    tracker.start_step("pretrain", key, {}, {})
    tracker.log_metrics("pretrain", {"train/loss": math.nan}, 1)
    tracker.finish_run("failed")
    assert math.isnan(client.get_run(tracker.step_run_id("pretrain")).data.metrics["train/loss"])


def test_more_points_than_one_request_takes(tracker, client, key):
    tracker.start_step("pretrain", key, {}, {})
    for step in range(1500):
        tracker.log_metrics("pretrain", {"train/loss": float(step)}, step)
    tracker.finish_run("ok")
    points = history(client, tracker.step_run_id("pretrain"), "train/loss")
    assert points == [(step, float(step)) for step in range(1500)]


def test_more_parameters_than_one_request_takes(tracker, client, key):
    wanted = {f"p{number}": number for number in range(250)}
    tracker.start_step("pretrain", key, wanted, {})
    tracker.finish_run("ok")
    run = client.get_run(tracker.step_run_id("pretrain"))
    assert run.data.params == {name: str(value) for name, value in wanted.items()}


def test_a_cached_step_points_to_its_maker_and_shows_its_results(
    tracking_uri, tracker, client, key
):
    tracker.start_step("finetune", key, {"lr": 1e-5}, {"data": "a"})
    tracker.log_metrics("finetune", {"train/loss": 0.5}, 7)
    tracker.finish_step("finetune", "ok", {"uri": "/store/finetune/x"})
    maker = tracker.step_run_id("finetune")
    tracker.finish_run("ok")
    for made_by in (maker, ""):
        replay = MlflowTracker(tracking_uri)
        replay.start_run("tiny", {}, {})
        replay.cached_step("finetune", key, made_by)
        replay.finish_run("ok")
        run = client.get_run(replay.step_run_id("finetune"))
        assert run.info.status == "FINISHED"
        assert run.data.tags[names.CACHED_FROM] == maker
        assert run.data.tags[names.PARENT_RUN] == replay.run_id
        assert run.data.tags[names.OUTPUT + "uri"] == "/store/finetune/x"
        assert run.data.metrics == {"train/loss": 0.5}
        assert run.data.params == {"lr": "1e-05"}


def test_a_cached_step_of_an_unknown_maker(tracker, client, key):
    tracker.cached_step("prepare", key, "0" * 32)
    tracker.finish_run("ok")
    run = client.get_run(tracker.step_run_id("prepare"))
    assert run.data.tags[names.CACHED_FROM] == "0" * 32


def test_steps_side_by_side_keep_their_own_metrics(tracker, client, key):
    for name in "abc":
        tracker.start_step(name, f"{key}{name}", {}, {})
    for step in range(20):
        for offset, name in enumerate("abc"):
            tracker.log_metrics(name, {"eval/done": float(offset)}, step)
    tracker.finish_run("ok")
    for offset, name in enumerate("abc"):
        points = history(client, tracker.step_run_id(name), "eval/done")
        assert points == [(step, float(offset)) for step in range(20)]


def test_an_artifact_is_kept_although_its_folder_moves_away(tracker, client, key, tmp_path):
    path = tmp_path / "summary.json"
    path.write_text("{}")
    folder = tmp_path / "figures"
    folder.mkdir()
    (folder / "loss.svg").write_text("<svg/>")
    tracker.start_step("prepare", key, {}, {})
    tracker.log_artifact("prepare", path, "reports/summary.json")
    tracker.log_artifact("prepare", folder, "figures")
    path.unlink()
    tracker.finish_run("ok")
    run_id = tracker.step_run_id("prepare")
    assert [file.path for file in client.list_artifacts(run_id, "reports")] == [
        "reports/summary.json"
    ]
    assert [file.path for file in client.list_artifacts(run_id, "figures")] == ["figures/loss.svg"]


class Outage:
    """A writer method that fails until the server is back."""

    def __init__(self, write, times: int) -> None:
        self.write = write
        self.left = times

    def __call__(self, *arguments):
        if self.left > 0:
            self.left -= 1
            raise MlflowException("API request to http://mlflow failed with exception refused")
        return self.write(*arguments)


def test_records_wait_while_the_server_is_away(tracker, client, key, caplog, monkeypatch):
    tracker.start_step("pretrain", key, {}, {})
    outage = Outage(tracker._writer.log_metrics, times=2)
    monkeypatch.setattr(tracker._writer, "log_metrics", outage)
    for step in range(5):
        tracker.log_metrics("pretrain", {"train/loss": 1.0}, step)
    tracker.finish_step("pretrain", "ok", {})
    tracker.finish_run("ok")
    points = history(client, tracker.step_run_id("pretrain"), "train/loss")
    assert [step for step, _ in points] == [0, 1, 2, 3, 4]
    assert sum("The run goes on" in record.message for record in caplog.records) == 1


def test_a_server_that_stays_away_costs_the_records_not_the_run(tracking_uri, key, caplog):
    tracker = MlflowTracker(tracking_uri, finish_timeout_s=1.0)
    tracker.start_run("tiny", {}, {})
    tracker._writer.start_step = Outage(None, times=1000)
    tracker.start_step("pretrain", key, {}, {})
    tracker.log_metrics("pretrain", {"train/loss": 1.0}, 1)
    assert tracker.step_run_id("pretrain") == ""
    tracker.finish_step("pretrain", "ok", {})
    tracker.finish_run("ok")
    assert any("entries of this run are missing" in each.getMessage() for each in caplog.records)
    tracker.log_metrics("pretrain", {"train/loss": 1.0}, 2)  # nothing hangs afterwards


def test_a_refused_record_is_told_and_the_next_ones_are_written(tracker, client, key, caplog):
    tracker.start_step("pretrain", key, {}, {})
    tracker.log_metrics("pretrain", {"not a name!?": 1.0}, 1)
    tracker.flush(20.0)
    tracker.log_metrics("pretrain", {"train/loss": 1.0}, 1)
    tracker.finish_run("ok")
    assert client.get_run(tracker.step_run_id("pretrain")).data.metrics == {"train/loss": 1.0}
    assert any("Not recorded in MLflow" in record.message for record in caplog.records)


@pytest.mark.parametrize("warm", [False, True])
def test_a_wrong_address_is_told_at_the_start(warm):
    tracker = MlflowTracker("http://127.0.0.1:9")
    if warm:
        tracker.warm_up()
    with pytest.raises(RegistryError, match="no MLflow server answers at http://127"):
        tracker.start_run("tiny", {}, {})


def test_a_deleted_experiment_comes_back(tracking_uri, client):
    tracker = MlflowTracker(tracking_uri, "deleted")
    tracker.start_run("tiny", {}, {})
    client.delete_experiment(client.get_experiment_by_name("deleted").experiment_id)
    again = MlflowTracker(tracking_uri, "deleted")
    assert again.start_run("tiny", {}, {})


def test_files_lie_beside_the_database_and_nowhere_else(tracking_uri, client, tracker):
    location = client.get_run(tracker.run_id).info.artifact_uri
    assert location.startswith(str(connection.database_path(tracking_uri).parent))
