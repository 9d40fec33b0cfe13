"""The hops of the chain: how each step calls the floor that does its work.

In: a chain, the recipe's part, handles of inputs. Out: the handle of the new step. The lower half
are the step functions themselves: they run inside Ray tasks and import the heavy floors only there.
"""

import json
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from components.core.store import Store
from components.data.config import PrepareConfig, PreparedData
from components.data.pocket.config import PocketConfig, RawData
from components.evaluation.config import REPORT, BenchmarkScores, EvaluationConfig
from components.training.config import ModelCheckpoint, StageConfig
from components.training.engines.deepspeed_config import plan_batches
from workflows.artifacts import (
    DeployConfig,
    Deployment,
    RegisterConfig,
    RegisteredVersion,
    SampleAnswer,
    VersionSettings,
)
from workflows.base import BaseParts
from workflows.config import PipelineConfig
from workflows.home import api_key
from workflows.service.samples import sample_questions
from workflows.steps import Chain, Handle, StepContext

log = logging.getLogger(__name__)

# Steps that only start Ray Train workers or actors reserve nothing: those reserve their own.
COORDINATES = 0
# A pod that is evicted has 30 s from SIGTERM to its end.
STOP_GRACE_S = 25.0


def raw(chain: Chain, recipe: PipelineConfig, raw_data: RawData | None) -> Handle | RawData:
    """The raw annotations and images: an existing folder, or the pocket world drawn anew."""
    if raw_data is not None:
        return raw_data
    return chain.add(
        "raw",
        draw_world,
        config=recipe.pocket,
        returns=RawData,
    )


def prepare(
    chain: Chain, config: PrepareConfig, raw_data: Handle | RawData, base: BaseParts
) -> Handle:
    """Validated, tokenised, sharded data of one stage."""
    return chain.add(
        f"prepare-{config.stage}",
        prepare_data,
        config=config,
        inputs={"raw": raw_data, "base": base},
        returns=PreparedData,
        num_cpus=COORDINATES,
        retries=2,
    )


def train(chain: Chain, config: StageConfig, data: Handle, start: Handle | BaseParts) -> Handle:
    """One training stage, from the base parts or from an earlier stage's model.

    Raises ConfigError at once for a global batch that the workers cannot share, not an hour later.
    """
    plan_batches(config, config.num_workers)
    return chain.add(
        config.name,
        train_stage,
        config=config,
        inputs={"data": data, "start": start},
        returns=ModelCheckpoint,
        num_cpus=COORDINATES,
        retries=2,
        stop_grace_s=STOP_GRACE_S,
    )


def evaluate(
    chain: Chain, config: EvaluationConfig, name: str, model: Handle, raw_data: Handle | RawData
) -> Handle:
    """The model's scores on one benchmark; benchmarks run side by side on shared actors."""
    return chain.add(
        f"evaluate-{name}",
        evaluate_benchmark,
        config=config.for_benchmark(name),
        inputs={"model": model, "raw": raw_data},
        returns=BenchmarkScores,
        num_cpus=COORDINATES,
        retries=2,
    )


def register(
    chain: Chain,
    recipe: PipelineConfig,
    base: BaseParts,
    model: Handle,
    scores: Sequence[Handle],
    raw_data: Handle | RawData,
    tracking_uri: str,
) -> Handle:
    """A version in the registry with lineage, card and a page of its results; the gate says whether
    it may become champion.
    """
    return chain.add(
        "register",
        register_version,
        config=RegisterConfig(
            recipe=recipe.name,
            model_name=recipe.registry.model_name,
            tracking_uri=tracking_uri,
            settings=VersionSettings.of(recipe),
        ),
        inputs={"base": base, "model": model, "scores": list(scores), "raw": raw_data},
        returns=RegisteredVersion,
        num_cpus=COORDINATES,
        retries=2,
    )


def deploy(
    chain: Chain, recipe: PipelineConfig, version: Handle, raw_data: Handle | RawData
) -> Handle:
    """The service answering with the version, asked the sample questions over HTTP."""
    return chain.add(
        "deploy",
        deploy_version,
        config=DeployConfig(serving=recipe.serving, samples=recipe.samples),
        inputs={"version": version, "raw": raw_data},
        returns=Deployment,
        num_cpus=COORDINATES,
    )


def draw_world(config: PocketConfig, inputs: dict[str, Any], context: StepContext) -> RawData:
    """Step function of `raw`."""
    from components.data.pocket.world import write_world

    return write_world(config, context.output_path)


def prepare_data(
    config: PrepareConfig, inputs: dict[str, Any], context: StepContext
) -> PreparedData:
    """Step function of `prepare-*`."""
    from components.data.prepare.parts import Reporter
    from components.data.prepare.passes import prepare as prepare_rows
    from components.data.prepare.ray_map import ray_map
    from components.model.folders import local_folder
    from components.model.tokenizer import check_positions, load_tokenizer
    from components.model.tower import read_tower

    base: BaseParts = inputs["base"]
    language_model = local_folder(base.language_model, weights=False)
    check_positions(language_model, config.max_tokens)
    tokenizer, image_token_id = load_tokenizer(language_model)
    tower = read_tower(local_folder(base.vision_tower, weights=False))
    tower.check_image_size(config.image.size_px)
    # Training would say so too, hours later.
    tower.check_feature_layer(base.feature_layer)
    return prepare_rows(
        config,
        inputs["raw"].uri,
        tokenizer,
        image_token_id,
        tower.patches_per_image(base.select, base.connector),
        context.output_path,
        work_uri=context.resume_path(),
        run=ray_map,
        reporter=Reporter(context.log_progress, context.log_note),
    )


def train_stage(
    config: StageConfig, inputs: dict[str, Any], context: StepContext
) -> ModelCheckpoint:
    """Step function of `pretrain` and `finetune`."""
    from components.training.trainer import train_stage as train

    start = inputs["start"]
    # Each machine with workers brings its inputs to itself.
    return train(
        config,
        partial(context.input_path, inputs["data"]),
        start.paths() if isinstance(start, BaseParts) else partial(context.input_path, start),
        context.output_path,
        run_name=context.key,
        storage_path=context.resume_path(),
        on_metrics=context.log_metrics,
        on_progress=context.log_progress,
        on_wait=context.log_note,
        stop_uri=context.stop_uri(),
    )


def evaluate_benchmark(
    config: EvaluationConfig, inputs: dict[str, Any], context: StepContext
) -> BenchmarkScores:
    """Step function of `evaluate-*`."""
    from components.evaluation.evaluate import evaluate as evaluate_on
    from components.evaluation.score_table import metrics
    from components.evaluation.targets.pool import PoolTarget, checkpoint_target

    model: ModelCheckpoint = inputs["model"]
    target = PoolTarget(
        checkpoint_target(partial(context.input_path, model), config), model.digest, config
    )
    scores = evaluate_on(
        config,
        config.benchmarks[0],
        _raw_with_benchmarks(inputs["raw"], context),
        target,
        context.output_path,
        context.resume_path(),
        context.log_progress,
        judge_key=api_key,
    )
    context.log_metrics(metrics(scores))
    return scores


def register_version(
    config: RegisterConfig, inputs: dict[str, Any], context: StepContext
) -> RegisteredVersion:
    """Step function of `register`."""
    from components.evaluation.pages.report import write_report
    from components.evaluation.targets.actor_names import release
    from workflows.registration.register import register_model

    # All scores are there: what the evaluators hold is wanted by the service.
    release(inputs["model"].digest)
    registered = register_model(config, inputs["base"], inputs["model"], inputs["scores"], context)
    page = write_report(
        [context.input_path(scores) for scores in inputs["scores"]],
        context.output_path / REPORT,
        f"{registered.model_name}/{registered.version}",
        _raw_with_benchmarks(inputs["raw"], context),
    )
    context.log_artifact(page, REPORT)
    return registered


def deploy_version(
    config: DeployConfig, inputs: dict[str, Any], context: StepContext
) -> Deployment:
    """Step function of `deploy`."""
    from components.serving.client import ask
    from components.serving.service import rollout

    version: RegisteredVersion = inputs["version"]
    running = rollout.service_status()
    serves = running is None or version.is_champion
    if serves:
        endpoint = rollout.serve_checkpoint(
            version.checkpoint_uri, config.serving, version.model_name, str(version.version)
        )
    else:
        endpoint = rollout.try_out(
            version.checkpoint_uri, config.serving, version.model_name, str(version.version)
        )
    try:
        answers = tuple(
            SampleAnswer(
                image_path=str(image),
                question=question,
                answer=ask(endpoint.url, question, image, max_tokens=config.samples.max_new_tokens),
            )
            for image, question in sample_questions(
                config.samples.files, _raw_with_benchmarks(inputs["raw"], context)
            )
        )
    finally:
        if not serves:
            rollout.end_try_out()
    (context.output_path / "answers.json").write_text(
        json.dumps([answer.canonical() for answer in answers], indent=2) + "\n"
    )
    return Deployment(
        model_name=version.model_name,
        version=version.version,
        checkpoint_uri=version.checkpoint_uri,
        url=endpoint.url,
        serves=serves,
        answers=answers,
    )


def _raw_with_benchmarks(raw: RawData, context: StepContext) -> Path:
    """Return a local folder with the raw data's `eval`.

    Of a raw folder in an object store, with its hundreds of gigabytes, no more than that is copied.
    """
    if "://" not in raw.uri or context.store.relative(raw.uri) is not None:
        return context.input_path(raw)
    # Such a folder may change; a copy stands for the content that the digest names.
    cache_path = Path(context.store.cache_path) / raw.digest[:32]
    return Store(raw.uri, str(cache_path)).local_copy("eval").parent
