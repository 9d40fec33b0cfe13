"""What each Ray Train worker runs: one rank of a stage, from opened model to reported result.

In: a `WorkerJob`. Out: checkpoints and metrics through `ray.train.report`, the finished model
folder as the last checkpoint (named `final`), and a small dictionary: the facts of the run, or the
error that all ranks agreed on. An error that only one rank meets is raised, and Ray restarts the
group from the last checkpoint.
"""

import hashlib
import logging
import tempfile
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from components.core.errors import CheckpointError, LavaflowError, Stopped
from components.core.scratch import scratch_folder
from components.core.store_faults import guarded
from components.model.sizes.flops import peak_flops
from components.training.checkpoints.checkpointing import Progress, SavedState
from components.training.checkpoints.saving import StageCheckpoints, latest_checkpoint, sweep
from components.training.curves import Arithmetic, LogInterval
from components.training.engines.precision import autocasts
from components.training.materials import BatchSource, OpenedModel
from components.training.planning.disk import disk_need, dry_save
from components.training.workers.imports import import_transformers
from components.training.workers.job import FINAL, WorkerJob
from components.training.workers.ranks import AcrossRanks, join_ranks, leave_ranks
from components.training.workers.watchdog import Watchdog

if TYPE_CHECKING:
    from components.training.engines.deepspeed_engine import DeepSpeedEngine

log = logging.getLogger(__name__)


def run_worker(job: WorkerJob) -> dict[str, Any]:
    """Train one rank to the end and return the run's facts (the same on every rank)."""
    import ray.train
    import torch

    torch.set_num_threads(max(1, int(job.config.num_cpus_per_worker)))
    import_transformers()
    last = ray.train.get_checkpoint()
    if last is not None and Path(last.path).name == FINAL:
        return {}
    ranks = join_ranks(job.config.uses_gpu)
    with scratch_folder() as scratch:
        try:
            stage = _Stage(job, ranks, scratch)
            stage.train()
            return stage.finish()
        except _Agreed as stop:
            return {"error": stop.reason}
        finally:
            leave_ranks()


class _Agreed(Exception):
    """Every rank knows of this error and stops with it, so none waits for another."""

    def __init__(self, reason: Exception):
        super().__init__(str(reason))
        self.reason = reason


class _Stage:
    """One rank's run: its engine, its batches and where it stands."""

    def __init__(self, job: WorkerJob, ranks: AcrossRanks, scratch: Path):
        self.job, self.config, self.ranks, self.scratch = job, job.config, ranks, scratch
        self.recipe = job.fingerprint
        self.validation_loss: float | None = None
        opened, saved = self._open()
        self.engine = self._start_engine(opened, saved)

    def _open(self) -> tuple[OpenedModel, SavedState | None]:
        """Do everything that can fail on one rank alone, then let all ranks know how it went."""
        error: Exception | None = None
        saved: SavedState | None = None
        gpu_bytes = self.ranks.least_gpu_bytes()
        try:
            self.materials = self.job.materials.located()
            self.job = replace(self.job, fingerprint=self._with_data(self.job.fingerprint))
            self._fit_memory(gpu_bytes)
            opened = self.materials.open_model(self.config)
            self.counts = opened.set_up(self.config)
            self._dry_save()
            self.batches = self.materials.open_batches(
                opened, self.config, self.ranks.rank, self.ranks.world_size
            )
            self.validation = self.materials.open_validation(
                opened, self.config, self.ranks.rank, self.ranks.world_size
            )
            self.sources = self.materials.sources()
            self.num_steps = min(
                self.batches.num_steps, self.config.max_steps or self.batches.num_steps
            )
            saved = latest_checkpoint(self.job, self.scratch)
            if saved is not None:
                saved.load_weights(opened.model)
        except LavaflowError as caught:
            error = caught
        if (reason := self.ranks.agree(error)) is not None:
            raise _Agreed(reason)
        self.step = saved.progress.step if saved else 0
        steps = self.ranks.sum([self.step])
        if steps != [self.step * self.ranks.world_size]:
            raise CheckpointError("the ranks read different checkpoints; is the storage shared?")
        if self.ranks.rank == 0:
            sweep(self.job, saved)
        self.step_samples = self.config.global_batch
        self.losses = deque(saved.progress.recent_losses if saved else (), maxlen=10)
        return opened, saved

    def _with_data(self, fingerprint: str) -> str:
        """Return the identity of recipe and data: the same steps over other rows are no resume."""
        both = f"{fingerprint} {self.materials.content_digest()}"
        return hashlib.sha256(both.encode()).hexdigest()

    def _fit_memory(self, gpu_bytes: int) -> None:
        if not self.config.check_memory or not gpu_bytes:
            return
        asked = self.config.micro_batch
        self.config = self.materials.fit_memory(self.config, self.ranks.world_size, gpu_bytes)
        if self.config.micro_batch != asked and self.ranks.rank == 0:
            log.info("micro-batch %d in place of %d, to fit", self.config.micro_batch, asked)

    def _dry_save(self) -> None:
        import ray.train

        context = ray.train.get_context()
        if context.get_local_rank() == 0:
            need = disk_need(self.config, *self.counts)
            workers = context.get_local_world_size(), self.ranks.world_size
            dry_save(need, self.job.storage_uri, self.scratch, *workers)

    def _arithmetic(self) -> Arithmetic | None:
        """Return what tells the share of the hardware's peak, where the model's sizes are known."""
        import torch

        shapes = self.materials.shapes()
        if shapes is None:
            return None
        name = torch.cuda.get_device_name(self.ranks.device) if self.config.uses_gpu else "cpu"
        return Arithmetic(shapes, self.config, self.ranks.world_size, peak_flops(name))

    def _start_engine(self, opened: OpenedModel, saved: SavedState | None) -> "DeepSpeedEngine":
        from components.training.engines.deepspeed_config import plan_batches
        from components.training.engines.deepspeed_engine import DeepSpeedEngine

        config = self.config
        self.micro_batch = plan_batches(config, self.ranks.world_size).micro_batch
        if config.activation_checkpointing:
            opened.model.gradient_checkpointing_enable()
        opened.model.train()
        module = opened.summed_loss(config)
        module.loss_module.runs_tower_for_text = (
            config.zero_stage == 3 and self.ranks.world_size > 1
        )
        names = {id(p): n for n, p in opened.model.named_parameters()}
        engine = DeepSpeedEngine(module, config, self.ranks.world_size, names)
        if saved is not None:
            engine.restore_optimizer(saved)
        if self.ranks.rank == 0:
            log.info(
                "%s: %s of %s parameters learn; %d steps of %d samples from step %d, %d worker(s), "
                "products in %s",
                config.name,
                f"{self.counts[0]:,}",
                f"{self.counts[1]:,}",
                self.num_steps,
                config.global_batch,
                self.step,
                self.ranks.world_size,
                config.precision if config.uses_gpu or autocasts(config) else "fp32",
            )
        return engine

    def train(self) -> None:
        """Take the remaining steps, reporting and checkpointing on the way."""
        with Watchdog(self.config.hang_timeout_s) as watchdog:
            self._train(watchdog)

    def _train(self, watchdog: Watchdog) -> None:
        import ray.train

        from components.training.loop import learning_rate, seed_step, train_step

        config = self.config
        batches = self.batches.batches(self.step)
        arithmetic = self._arithmetic()
        interval = LogInterval(arithmetic=arithmetic)
        checkpoints = StageCheckpoints(self.job, self.ranks, self.scratch, self.num_steps)
        while self.step < self.num_steps:
            watchdog.feed()
            seed_step(config.seed, self.step, self.ranks.rank)
            rate = learning_rate(
                self.step, self.num_steps, config.warmup_ratio, config.learning_rate
            )
            try:
                outcome = train_step(
                    self.engine,
                    lambda: next(batches),
                    rate,
                    self.micro_batch,
                    self.ranks,
                    self.sources,
                )
            except LavaflowError as error:
                if error is not self.ranks.agreed:
                    raise
                raise _Agreed(_at_step(error, self.step)) from error
            self.step += 1
            self.step_samples = outcome.num_samples  # less than asked for where the data are fewer
            self.losses.append(outcome.loss)
            interval.outcomes.append(outcome)
            asked = checkpoints.asked(self.step) if self.step < self.num_steps else ""
            saves = bool(asked)
            logs = self.step % config.log_every_steps == 0 or self.step == self.num_steps
            validates = self.step == self.num_steps or (
                config.validate_every_steps and self.step % config.validate_every_steps == 0
            )
            report: dict[str, Any] = {"step": self.step, "num_steps": self.num_steps}
            if logs or (validates and self.validation is not None):
                point = interval.point(rate)
                if validates and self.validation is not None:
                    watchdog.feed()
                    point["validation/loss"] = self._validate(self.validation)
                report |= {"point": point}
                logs, interval = True, LogInterval(arithmetic=arithmetic)
            if logs:
                ray.train.report(report)
            self._publish(checkpoints, wait=saves)
            if saves:
                checkpoints.begin(self.engine, Progress(self.step, list(self.losses)))
            if asked == "stop":
                self._publish(checkpoints, wait=True)
                ray.train.get_all_reported_checkpoints()  # returns once it is in the storage
                raise _Agreed(Stopped(f"stopped as asked after step {self.step}, which is saved"))
        self._publish(checkpoints, wait=True)

    def _validate(self, batches: BatchSource) -> float:
        """Return the loss of the held-out rows."""
        from components.training.loop import validation_loss

        try:
            loss = validation_loss(self.engine, batches.batches(0), self.micro_batch, self.ranks)
        except LavaflowError as error:
            if error is not self.ranks.agreed:
                raise
            raise _Agreed(_at_step(error, self.step - 1)) from error
        self.validation_loss = loss
        return loss

    def _publish(self, checkpoints: StageCheckpoints, wait: bool) -> None:
        if (reason := checkpoints.publish(wait)) is not None:
            raise _Agreed(reason)

    def finish(self) -> dict[str, Any]:
        """Write the finished model as the run's last checkpoint and return the facts of the run."""
        import ray.train

        facts = {
            "num_steps": self.step,
            "num_samples": self.step * self.step_samples,
            "final_loss": sum(self.losses) / max(1, len(self.losses)),
            "validation_loss": self.validation_loss,
            "num_trainable": self.counts[0],
            "num_parameters": self.counts[1],
        }
        weights = {}
        for name in self.engine.parameter_names():
            weight = self.engine.whole_weight(name)
            if self.ranks.rank == 0:
                weights[name] = weight.to("cpu")
        with tempfile.TemporaryDirectory(dir=self.scratch) as folder:
            checkpoint = None
            if self.ranks.rank == 0:
                guarded(folder, lambda: self._write_model(weights, Path(folder), facts))
                checkpoint = ray.train.Checkpoint.from_directory(folder)
            ray.train.report(
                {"step": self.step, "recipe": self.recipe, **facts},
                checkpoint=checkpoint,
                checkpoint_dir_name=FINAL,
            )
        # Waits until everything is uploaded: the folders it is uploaded from will be deleted.
        ray.train.get_all_reported_checkpoints()
        return facts

    def _write_model(self, weights: dict[str, Any], folder: Path, facts: dict[str, Any]) -> None:
        """Open the starting model anew (ZeRO-3 took the other apart) and put the new weights in."""
        import torch

        opened = self.materials.open_model(self.config)
        opened.set_up(self.config)
        with torch.no_grad():
            for name, parameter in opened.model.named_parameters():
                if name in weights:
                    parameter.copy_(weights[name])
        self.materials.write_model(opened, self.config, folder, facts)


def _at_step(error: Exception, step: int) -> Exception:
    return type(error)(f"step {step + 1}: {error}")
