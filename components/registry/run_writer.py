"""Writes one pipeline run into MLflow, synchronously: what each entry of the tracker means there.

In: entries of `tracking.MlflowTracker`, from its one thread. Out: runs, tags, parameters, metrics.
It does not retry, wait or swallow; the tracker does. Each method can be repeated after it broke off
half-way, because it looks before it writes.

References: mlflow issues 4248 (parameters are immutable: a second attempt must not log them again;
replayed steps duplicate metrics) and 11782.
"""

import json
import logging
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.registry import connection, names

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

log = logging.getLogger(__name__)

STATUS = {"ok": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
# Limits of one log_batch request and of one value: mlflow/utils/validation.py, 3.17.
PARAMS_PER_REQUEST = 100
METRICS_PER_REQUEST = 1000
LONGEST_PARAM = 6000
LONGEST_TAG = 8000
LONGEST_DATASET_DIGEST = 36


@dataclass(frozen=True)
class MetricPoint:
    """One value of one metric of one step; `at` is the training step, None for a final value."""

    step: str
    name: str
    value: float
    at: int | None
    time_ms: int


@dataclass
class _StepRun:
    run_id: str
    resumed: bool = False
    last_logged: dict[str, int] = field(default_factory=dict)
    """Per metric: the last training step in MLflow; filled on first use after a resume."""
    params: dict[str, str] = field(default_factory=dict)


class RunWriter:
    """The runs of one pipeline run in MLflow. Not thread-safe: one thread writes."""

    def __init__(self, tracking_uri: str, experiment: str) -> None:
        self.tracking_uri = tracking_uri
        self.experiment = experiment
        self.run_id = ""
        self._experiment_id: str | None = None
        self._steps: dict[str, _StepRun] = {}

    def open(self) -> "MlflowClient":
        """Return the client, after the experiment is known to exist."""
        client = connection.connect(self.tracking_uri)
        if self._experiment_id is None:
            self._experiment_id = ensure_experiment(client, self.tracking_uri, self.experiment)
        return client

    def start_run(self, name: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        client = self.open()
        if not self.run_id:
            every_tag = {names.KIND: "pipeline", **_tag_values(tags)}
            run = client.create_run(self._experiment_id, tags=every_tag, run_name=name)
            self.run_id = run.info.run_id
        _log_params(client, self.run_id, flatten(params))
        return self.run_id

    def start_step(
        self, step: str, key: str, params: Mapping[str, Any], inputs: Mapping[str, str]
    ) -> str:
        client = self.open()
        run = self._unfinished(client, key)
        if run is None:
            tags = self._step_tags(step, key) | {names.CACHED: "false", names.ATTEMPTS: "1"}
            run = client.create_run(self._experiment_id, tags=tags, run_name=step)
            current = _StepRun(run.info.run_id)
        else:
            current = _StepRun(run.info.run_id, resumed=True, params=dict(run.data.params))
            self._take_over(client, run, current)
        self._steps[step] = current
        self.log_params(step, params)
        self._link_inputs(client, current.run_id, inputs)
        return current.run_id

    def log_params(self, step: str, params: Mapping[str, Any]) -> None:
        """Log what is new as parameters; a different value of a known one becomes a tag."""
        if (current := self._steps.get(step)) is None:
            return
        client = self.open()
        wanted = flatten(params)
        new = {name: value for name, value in wanted.items() if name not in current.params}
        _log_params(client, current.run_id, new)
        changed = {k: v for k, v in wanted.items() if current.params.get(k, v) != v}
        _set_tags(client, current.run_id, {names.CHANGED + k: v for k, v in changed.items()})
        current.params.update(new)

    def log_metrics(self, points: Iterable[MetricPoint]) -> None:
        """Write the points that are later than what each metric has; all runs, in few requests."""
        from mlflow.entities import Metric

        by_run: dict[str, list[Metric]] = {}
        reached: dict[tuple[str, str], int] = {}
        for point in points:
            if (current := self._steps.get(point.step)) is None:
                continue
            if point.at is not None:
                last = reached.get((point.step, point.name), self._last_logged(current, point.name))
                if point.at <= last:
                    continue
                reached[point.step, point.name] = point.at
            metric = Metric(point.name, point.value, point.time_ms, point.at or 0)
            by_run.setdefault(current.run_id, []).append(metric)
        client = self.open()
        for run_id, metrics in by_run.items():
            for start in range(0, len(metrics), METRICS_PER_REQUEST):
                client.log_batch(run_id, metrics=metrics[start : start + METRICS_PER_REQUEST])
        for (step, name), at in reached.items():
            self._steps[step].last_logged[name] = at

    def log_artifact(self, step: str, copy: Path, name: str) -> None:
        """Upload the copy under its name and remove it."""
        if (current := self._steps.get(step)) is None:
            return
        folder = str(Path(name).parent) if Path(name).parent != Path() else None
        self.open().log_artifact(current.run_id, str(copy), folder)
        shutil.rmtree(copy.parent, ignore_errors=True)

    def finish_step(self, step: str, status: str, outputs: Mapping[str, str]) -> None:
        if (current := self._steps.get(step)) is None:
            return
        client = self.open()
        _set_tags(client, current.run_id, {names.OUTPUT + k: v for k, v in outputs.items()})
        client.set_terminated(current.run_id, STATUS[status])

    def cached_step(self, step: str, key: str, made_by: str) -> str:
        client = self.open()
        maker = self._maker(client, key, made_by)
        tags = self._step_tags(step, key) | {names.CACHED: "true"}
        if maker is not None:
            copied = (names.INPUT, names.OUTPUT)
            tags |= {k: v for k, v in maker.data.tags.items() if k.startswith(copied)}
            tags[names.CACHED_FROM] = maker.info.run_id
        elif made_by:
            tags[names.CACHED_FROM] = made_by  # made under another MLflow address
        run = client.create_run(self._experiment_id, tags=tags, run_name=step)
        if maker is not None:
            self._copy_results(client, maker, run.info.run_id)
        client.set_terminated(run.info.run_id, "FINISHED")
        self._steps[step] = _StepRun(run.info.run_id)
        return run.info.run_id

    def finish_run(self, status: str) -> None:
        if self.run_id:
            self.open().set_terminated(self.run_id, STATUS[status])

    def _step_tags(self, step: str, key: str) -> dict[str, str]:
        tags = {names.KIND: "step", names.STEP: step, names.STEP_KEY: key}
        return tags | ({names.PARENT_RUN: self.run_id} if self.run_id else {})

    def _unfinished(self, client: "MlflowClient", key: str) -> "Run | None":
        """Find the newest run of this key that did not finish; a finished one is never reopened.

        A finished key starts again only by force or because its output was lost: then its curves
        begin anew too, so it gets a run of its own.
        """
        found = client.search_runs(
            [self._experiment_id],
            f"tags.`{names.STEP_KEY}` = '{key}' and tags.`{names.CACHED}` = 'false'",
            max_results=1,
            order_by=["attributes.start_time DESC"],
        )
        return found[0] if found and found[0].info.status != "FINISHED" else None

    def _take_over(self, client: "MlflowClient", run: "Run", current: _StepRun) -> None:
        """Move an unfinished step under the present pipeline run; close the former one."""
        attempts = int(run.data.tags.get(names.ATTEMPTS, "1")) + 1
        _set_tags(client, current.run_id, {names.ATTEMPTS: str(attempts)})
        client.update_run(current.run_id, status="RUNNING")
        former = run.data.tags.get(names.PARENT_RUN)
        if not self.run_id or former == self.run_id:
            return
        _set_tags(client, current.run_id, {names.PARENT_RUN: self.run_id})
        # The step's lease is ours, so the driver of the former pipeline run is gone: had it ended
        # in order, its run would not be RUNNING.
        if former and client.get_run(former).info.status == "RUNNING":
            _set_tags(client, former, {names.RESUMED_BY: self.run_id})
            client.set_terminated(former, "KILLED")

    def _last_logged(self, current: _StepRun, metric: str) -> int:
        if metric not in current.last_logged:
            history = (
                self.open().get_metric_history(current.run_id, metric) if current.resumed else []
            )
            current.last_logged[metric] = max((point.step for point in history), default=-1)
        return current.last_logged[metric]

    def _link_inputs(self, client: "MlflowClient", run_id: str, inputs: Mapping[str, str]) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        if not inputs:
            return
        _set_tags(client, run_id, {names.INPUT + name: uri for name, uri in inputs.items()})
        datasets = [
            DatasetInput(
                Dataset(
                    name=name,
                    digest=uri.rstrip("/").rsplit("/", 1)[-1][:LONGEST_DATASET_DIGEST] or "-",
                    source_type="lavaflow",
                    source=json.dumps({"uri": uri}),
                ),
                [InputTag("mlflow.data.context", name)],
            )
            for name, uri in inputs.items()
        ]
        connection.despite_races(client.log_inputs, run_id, datasets=datasets)

    def _maker(self, client: "MlflowClient", key: str, made_by: str) -> "Run | None":
        """Fetch the run that made a cached output: by its id, else by the key."""
        from mlflow.exceptions import MlflowException

        if made_by:
            try:
                return client.get_run(made_by)
            except MlflowException as error:
                if connection.is_passing(error):
                    raise
        found = client.search_runs(
            [self._experiment_id],
            f"tags.`{names.STEP_KEY}` = '{key}' and tags.`{names.CACHED}` = 'false' "
            "and attributes.status = 'FINISHED'",
            max_results=1,
            order_by=["attributes.start_time DESC"],
        )
        return found[0] if found else None

    def _copy_results(self, client: "MlflowClient", maker: "Run", run_id: str) -> None:
        from mlflow.entities import Metric

        _log_params(client, run_id, maker.data.params)
        end_ms = maker.info.end_time or maker.info.start_time
        metrics = [Metric(name, value, end_ms, 0) for name, value in maker.data.metrics.items()]
        if metrics:
            client.log_batch(run_id, metrics=metrics[:METRICS_PER_REQUEST])


def ensure_experiment(client: "MlflowClient", tracking_uri: str, name: str) -> str:
    """Return the id of an experiment, creating or restoring it; two drivers may do so at once."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            location = connection.artifact_location(tracking_uri, name)
            return client.create_experiment(name, artifact_location=location)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)
    if found.lifecycle_stage == "deleted":
        log.warning("MLflow experiment %s had been deleted; it is restored", name)
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Turn nested settings into dotted names and short texts, as MLflow's parameters are."""
    flat: dict[str, str] = {}
    for name, value in values.items():
        dotted = f"{prefix}{name}"
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{dotted}.")
        elif isinstance(value, str):
            flat[dotted] = value[:LONGEST_PARAM]
        else:
            flat[dotted] = json.dumps(value, default=str)[:LONGEST_PARAM]
    return flat


def _tag_values(tags: Mapping[str, str]) -> dict[str, str]:
    return {name: str(value)[:LONGEST_TAG] for name, value in tags.items()}


def _log_params(client: "MlflowClient", run_id: str, params: Mapping[str, str]) -> None:
    from mlflow.entities import Param

    every = [Param(name, value) for name, value in params.items()]
    for start in range(0, len(every), PARAMS_PER_REQUEST):
        client.log_batch(run_id, params=every[start : start + PARAMS_PER_REQUEST])


def _set_tags(client: "MlflowClient", run_id: str, tags: Mapping[str, str]) -> None:
    """Set tags in batches: unlike `set_tag`, MLflow repeats a batch when it loses a race."""
    from mlflow.entities import RunTag

    every = [RunTag(name, value) for name, value in _tag_values(tags).items()]
    for start in range(0, len(every), PARAMS_PER_REQUEST):
        client.log_batch(run_id, tags=every[start : start + PARAMS_PER_REQUEST])
