"""Registers a finished model: scores, lineage and card into the registry, the gate about the alias.

In: a model checkpoint, the base it started from, its scores, the step's context. Out: a
`RegisteredVersion`. The first version of a model becomes champion at once (when the gate's floors
allow it); later ones are candidates until `promote`.
"""

import getpass
import hashlib
import json
import logging
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from components.core.errors import GateRefused, LavaflowError
from components.core.store import Store
from components.evaluation.benchmark import Prediction
from components.evaluation.config import BenchmarkScores
from components.evaluation.scoring.score import read_predictions
from components.registry import names
from components.registry.card import CardFacts, DataSummary, StageSummary, render_card
from components.registry.gate import GateReport, decide
from components.registry.ledger import Ledger
from components.registry.lineage import LineageNode, build, nodes
from components.registry.promotion import promote
from components.registry.scores import ScoreRow
from components.registry.versions import Registration, Registry, ResolvedVersion
from components.training.config import ModelCheckpoint
from workflows.artifacts import RegisterConfig, RegisteredVersion
from workflows.base import BaseParts
from workflows.registration.bases import describe_part
from workflows.registration.lineage import ancestors, read_record
from workflows.steps import StepContext
from workflows.steps.identity.payloads import read_payload
from workflows.steps.state.layout import StepFolder

log = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[2]


def register_model(
    config: RegisterConfig,
    base: BaseParts,
    model: ModelCheckpoint,
    scores: Sequence[BenchmarkScores],
    context: StepContext,
) -> RegisteredVersion:
    """Create the version and let the gate speak; registering the same key again returns the same
    version.
    """
    registry, ledger = Registry(config.tracking_uri), Ledger(context.store)
    rows = tuple(score_row(each, context.store) for each in scores)
    lineage = build(ancestors(context.store, model), model.digest)
    facts = _facts(config, base, model, rows, lineage, context.store)
    version = registry.register(
        config.model_name,
        Registration(
            checkpoint_uri=model.uri,
            checkpoint_digest=model.digest,
            key=context.key,
            run_id=context.run_id,
            recipe=config.recipe,
            code_version=facts.code_version,
            scores=rows,
            lineage=lineage,
            card=render_card(facts),
            tags=config.settings.tags(),
        ),
    )
    report = _judge(config, registry, ledger, version, context.store)
    (context.output_path / "card.md").write_text(render_card(facts.with_(gate=report)))
    champion = registry.alias(config.model_name, names.CHAMPION)
    return RegisteredVersion(
        model_name=config.model_name,
        version=version.version,
        checkpoint_uri=model.uri,
        checkpoint_digest=model.digest,
        is_champion=champion is not None and champion.version == version.version,
        gate_passed=report.passed,
        gate_reasons=report.reasons,
        scores=rows,
    )


def score_row(scores: BenchmarkScores, store: Store) -> ScoreRow:
    """Return a benchmark's scores as the registry keeps them."""
    return ScoreRow(
        benchmark=scores.benchmark,
        percent=scores.headline_percent,
        ci_low=scores.ci_low,
        ci_high=scores.ci_high,
        metric=scores.metric,
        value=scores.score if scores.score_maximum != 100.0 else None,
        blind_percent=scores.blind_percent,
        num_questions=scores.num_questions,
        questions_digest=_questions_digest(_predictions(scores.uri, store)),
        uri=scores.uri,
    )


def scores_with_questions(version: ResolvedVersion, store: Store) -> list[ScoreRow]:
    """Return a version's scores with each question's, read from the predictions, for a paired
    comparison.

    A row whose predictions are gone stays as it is: the gate then compares the intervals.

    """
    rows = []
    for row in version.scores:
        predictions = _predictions(row.uri, store)
        if predictions:
            row = row.with_(
                per_question={each.question.id: each.score for each in predictions},
                groups={each.question.id: each.question.cluster for each in predictions},
            )
        rows.append(row)
    return rows


def code_version() -> str:
    """Return the commit of the code and whether it was changed since; empty outside a checkout."""
    try:
        result = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=ROOT, capture_output=True, text=True, timeout=10, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return result.stdout.strip()


def user_name() -> str:
    """Return who runs this, for the ledger."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def _predictions(uri: str, store: Store) -> list[Prediction]:
    """The predictions behind a score; none when they are gone."""
    path = store.relative(uri) if uri else None
    try:
        return [] if path is None else read_predictions(store.local_copy(path))[1]
    except (OSError, LavaflowError) as error:
        log.debug("%s: no predictions (%s)", uri, error)
        return []


def _questions_digest(predictions: Sequence[Prediction]) -> str:
    """Identify the questions: models asked different ones are not compared."""
    asked = sorted((each.question.id, each.question.prompt) for each in predictions)
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest() if asked else ""


def _facts(
    config: RegisterConfig,
    base: BaseParts,
    model: ModelCheckpoint,
    rows: tuple[ScoreRow, ...],
    lineage: LineageNode,
    store: Store,
) -> CardFacts:
    """Return what the model's card tells, with the stages and data that the lineage names."""
    found = (read_record(store, node.uri) for node in nodes(lineage))
    records = [record for record in found if record is not None]
    tower, tower_licence = describe_part(base.vision_tower)
    language_model, language_licence = describe_part(base.language_model)
    return CardFacts(
        model=config.model_name,
        recipe=config.recipe,
        vision_tower=tower,
        language_model=language_model,
        connector=f"{base.connector}, on layer {base.feature_layer} of the vision tower",
        licences=(f"{tower}: {tower_licence}", f"{language_model}: {language_licence}"),
        num_parameters=model.num_parameters,
        checkpoint_uri=model.uri,
        checkpoint_digest=model.digest,
        code_version=code_version(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        stages=tuple(_stages(store, records)),
        data=tuple(_data(records)),
        scores=rows,
        lineage=lineage,
    )


def _judge(
    config: RegisterConfig,
    registry: Registry,
    ledger: Ledger,
    version: ResolvedVersion,
    store: Store,
) -> GateReport:
    """Let the gate decide: champion when there is none yet, else only a verdict on the version's
    tags.
    """
    champion = registry.alias(config.model_name, names.CHAMPION)
    if champion is None:
        try:
            done = promote(
                registry,
                ledger,
                config.model_name,
                version.version,
                gate=config.settings.gate,
                who=user_name(),
                reason="first version of the model",
            )
        except GateRefused as error:
            log.warning("%s", error)
        else:
            return done.report or GateReport(passed=True)
    ours = scores_with_questions(version, store)
    theirs = scores_with_questions(champion, store) if champion else None
    report = decide(ours, theirs, config.settings.gate)
    verdict = "passed" if report.passed else "refused: " + "; ".join(report.reasons)
    registry.set_tags(config.model_name, version.version, {names.GATE: verdict[:4900]})
    return report


def _stages(store: Store, records: Sequence[Mapping[str, Any]]) -> list[StageSummary]:
    stages = []
    for record in reversed(records):
        if record["artifact_kind"] != ModelCheckpoint.__name__:
            continue
        artifact = record["artifact"]
        payload = read_payload(store, StepFolder(record["step"], record["key"])) or {}
        config = payload.get("config") or {}
        stages.append(
            StageSummary(
                name=record["step"],
                trained=tuple(config.get("train", ())),
                num_steps=artifact["num_steps"],
                global_batch=config.get("global_batch", 0),
                learning_rate=config.get("learning_rate", 0.0),
                precision=config.get("precision", ""),
                final_loss=artifact["final_loss"],
                train_s=record["seconds"],
            )
        )
    return stages


def _data(records: Sequence[Mapping[str, Any]]) -> list[DataSummary]:
    return [
        DataSummary(
            name=record["step"],
            num_rows=record["artifact"]["num_rows"],
            num_rejected=record["artifact"]["num_rejected"],
            digest=record["digest"],
            sources=record["artifact"]["sources"],
        )
        for record in reversed(records)
        if record["artifact_kind"] == "PreparedData"
    ]
