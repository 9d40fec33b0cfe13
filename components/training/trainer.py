"""One stage as one call: data and a starting model in, a LLaVA folder out.

In: a StageConfig, paths, a run name. Out: a `ModelCheckpoint` record and the model folder at
`output_path`. Ray Train runs the workers; a dead worker restarts the group from the last complete
checkpoint, and the same (storage_path, run_name) resumes after the death of this process too. The
caller reserves no CPU: the workers reserve theirs. Not here: tracking (a callback gets the
numbers).
"""

import errno
import hashlib
import json
import logging
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.config import changes_no_result
from components.core.errors import (
    CheckpointError,
    LavaflowError,
    TrainingError,
    TrainingInterrupted,
)
from components.core.store import Store
from components.core.store_faults import translate
from components.training.config import BasePaths, ModelCheckpoint, StageConfig
from components.training.engines.deepspeed_config import plan_batches
from components.training.materials import Locate, Materials
from components.training.planning.room import check_cluster, free_orphans, waits_for
from components.training.ray_internals import last_result, lean_trainer, on_several_nodes
from components.training.workers.job import FINAL, WorkerJob

if TYPE_CHECKING:
    from ray.train import Checkpoint, Result, UserCallback

log = logging.getLogger(__name__)

OnMetrics = Callable[[dict[str, float], int], None]
OnProgress = Callable[[int, int], None]

_STORE_REFUSES = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)


def train_stage(
    config: StageConfig,
    data: str | Path | Locate,
    start: BasePaths | str | Path | Locate,
    output_path: str | Path,
    run_name: str,
    storage_path: str,
    on_metrics: OnMetrics | None = None,
    on_progress: OnProgress | None = None,
    on_wait: Callable[[str], None] | None = None,
    stop_uri: str | None = None,
) -> ModelCheckpoint:
    """Train one stage and leave its LLaVA folder at `output_path` (whole, or not at all).

    `data` is the folder of the prepared data, `start` the two base parts or an earlier stage's
    LLaVA folder; a function is called on each machine with workers and brings the folder there.
    `storage_path` (a local folder or a URI that every worker reaches) keeps the checkpoints below
    `run_name`.
    `on_metrics(metrics, step)` and `on_progress(steps done, steps in all)` are called in another
    process, so they must be picklable; the steps of metrics only ever increase.
    `on_wait(sentence)` is called when the cluster is too busy to start at once. When a file appears
    at `stop_uri` the run saves a checkpoint after its step and raises Stopped. Raises ConfigError,
    DataError or CheckpointError for what the user can mend, ClusterError when the cluster can never
    offer the workers, TrainingInterrupted when what steers them died, TrainingError when training
    itself cannot go on.
    """
    plan_batches(config, config.num_workers)
    check_cluster(config)
    materials = Materials(_travels(start), _travels(data))
    job = WorkerJob(
        config,
        materials,
        _fingerprint(config),
        storage_path,
        run_name,
        stop_uri,
        on_several_nodes(),
    )
    result = _finished(job)
    if result is None:
        free_orphans()
        # Ray Train writes there first, and what it raises then is a page about an actor.
        Store(storage_path).check_writable()
        if on_wait is not None and (waits := waits_for(config)):
            on_wait(waits)
        forwarder = _forwarder(on_metrics, on_progress)
        result = _fit(job, forwarder)
    facts = result.metrics or {}
    if result.checkpoint is None or Path(result.checkpoint.path).name != FINAL:
        raise TrainingError(f"{run_name}: the run ended without a finished model; run it again")
    _publish(result.checkpoint, Path(output_path))
    known = set(ModelCheckpoint.model_fields)
    return ModelCheckpoint(
        stage=config.name,
        template=config.template,
        **{name: value for name, value in facts.items() if name in known},
    )


def _fit(
    job: WorkerJob,
    forwarder: "UserCallback",
) -> "Result":
    from ray.exceptions import OutOfMemoryError, RayActorError
    from ray.train import (
        CheckpointConfig,
        FailureConfig,
        LoggingConfig,
        RunConfig,
        ScalingConfig,
        TrainingFailedError,
    )

    config = job.config
    resources: dict[str, float] = {"CPU": config.num_cpus_per_worker}
    if config.uses_gpu:
        resources["GPU"] = config.num_gpus_per_worker
    trainer = lean_trainer(
        train_loop_per_worker=_run_worker,
        train_loop_config={"job": job},
        scaling_config=ScalingConfig(
            num_workers=config.num_workers,
            use_gpu=config.uses_gpu,
            resources_per_worker=resources,
        ),
        run_config=RunConfig(
            name=job.run_name,
            storage_path=job.storage_uri,
            failure_config=FailureConfig(max_failures=config.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=config.keep_checkpoints),
            callbacks=[forwarder],
            # Its own lines name every report of every rank; ours say what a reader needs.
            logging_config=LoggingConfig(log_level="WARNING"),
        ),
    )
    try:
        result = trainer.fit()
    except TrainingFailedError as error:
        raise _readable(error, job) from None
    except (RayActorError, OutOfMemoryError) as error:
        raise TrainingInterrupted(
            f"{config.name} ({job.run_name}): the process that steers its workers died "
            f"({str(error).strip().partition(chr(10))[0]}); run it again, it goes on from its last "
            "checkpoint"
        ) from None
    outcome = result.return_value or {}
    if isinstance(outcome.get("error"), Exception):
        raise outcome["error"]
    return result


def _travels(where: Any) -> Any:
    """Return a place as workers get it: a path as text, anything else as it is."""
    return str(where) if isinstance(where, Path) else where


def _run_worker(settings: dict[str, Any]) -> dict[str, Any]:
    """Run in each worker; the import is here so that the caller never imports torch."""
    from components.training.workers.worker import run_worker

    return run_worker(settings["job"])


def _forwarder(on_metrics: OnMetrics | None, on_progress: OnProgress | None) -> "UserCallback":
    """Return the callback that hands each point of the curves on, in Ray Train's controller."""
    from ray.train import UserCallback

    class Forwarder(UserCallback):
        last_step = 0
        last_told = 0

        def after_report(
            self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any
        ) -> None:
            # After a restart the steps since the last checkpoint come again: known points.
            step = metrics[0]["step"]
            # A checkpoint is reported when it is written, some steps after its own.
            if on_progress and "num_steps" in metrics[0] and step >= self.last_told:
                self.last_told = step
                on_progress(step, metrics[0]["num_steps"])
            if on_metrics and "point" in metrics[0] and step > self.last_step:
                self.last_step = step
                on_metrics(metrics[0]["point"], step)

        def after_exception(
            self, run_context: Any, worker_exceptions: dict[int, Exception]
        ) -> None:
            for rank, error in worker_exceptions.items():
                log.warning("worker %d failed: %s", rank, _last_line(error))

    return Forwarder()


def _finished(job: WorkerJob) -> "Result | None":
    """Return the result of a run that already wrote its finished model, or None.

    Raises CheckpointError when it was made by another recipe.
    """
    if "://" not in job.storage_uri and not Path(job.run_uri).exists():
        return None
    result = last_result(job.run_uri)
    if result is None or result.checkpoint is None or Path(result.checkpoint.path).name != FINAL:
        return None
    if (result.metrics or {}).get("recipe") != job.fingerprint:
        raise CheckpointError(
            f"{job.run_uri}: finished by another recipe; use another run name or storage path"
        )
    return result


def _publish(checkpoint: "Checkpoint", output_path: Path) -> None:
    """Bring the finished folder to `output_path` under a temporary name first."""
    output_path.parent.mkdir(parents=True, exist_ok=True)
    partial = output_path.with_name(f".{output_path.name}.{uuid.uuid4().hex[:8]}")
    if checkpoint.filesystem.type_name == "local":
        # Links cost nothing and leave the run's own copy, so a crash after this repeats nothing.
        shutil.copytree(checkpoint.path, partial, copy_function=_link_or_copy)
    else:
        checkpoint.to_directory(partial)
    if output_path.exists():
        for item in partial.iterdir():
            item.replace(output_path / item.name)
        # Two names of one file are not made one by renaming: the link here would stay.
        shutil.rmtree(partial)
    else:
        partial.rename(output_path)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _fingerprint(config: StageConfig) -> str:
    """Identify what a checkpoint must agree with: every field that changes what is learnt."""
    values = config.canonical()
    for name, field in type(config).model_fields.items():
        if changes_no_result(field.json_schema_extra):
            del values[name]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _readable(error: Exception, job: WorkerJob) -> LavaflowError:
    """Turn Ray Train's failure into one line that names the cause."""
    failures: dict[int, Exception] = getattr(error, "worker_failures", {}) or {}
    for failure in failures.values():
        cause = _original(failure)
        if isinstance(cause, LavaflowError):
            return cause
        # Ray Train's upload; what a worker writes to its own disk is guarded there.
        if isinstance(cause, OSError) and cause.errno in _STORE_REFUSES:
            return translate(job.run_uri, cause)
    lines = [f"worker {rank}: {_last_line(_original(e))}" for rank, e in sorted(failures.items())]
    reason = "; ".join(lines) or _last_line(error)
    return TrainingError(
        f"{job.config.name} ({job.run_name}) failed after {job.config.max_failures} restart(s): "
        f"{reason}"
    )


def _original(error: Exception) -> Exception:
    """Unwrap Ray's and Ray Train's wrappers around a worker's exception."""
    for name in ("_base_exc", "cause", "_cause", "original_exception"):
        inner = getattr(error, name, None)
        if isinstance(inner, Exception):
            return _original(inner)
    return error


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[-1] if lines else "no message"
    return text if type(error).__name__ in text else f"{type(error).__name__}: {text}"
