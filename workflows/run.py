"""Runs and plans recipes: puts store, tracker, cluster and chain together and shows what came of
it.

In: a recipe's name with overrides, a home, a selection. Out: published artifacts, a running or
stopped service, a report on the terminal. The work itself is in the hops.
"""

import contextlib
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from components.core.artifact import Artifact
from components.core.config import Config
from components.core.errors import ConfigError
from components.core.store import Store, open_store
from components.data.pocket.config import RawData
from components.registry.tracking import MlflowTracker
from components.registry.versions import Registry
from components.serving.config import ServingConfig
from workflows import pipeline, show
from workflows.artifacts import Deployment, RegisteredVersion, VersionSettings
from workflows.base import read_base
from workflows.cluster.local import KeptCluster, ensure_cluster, keep_cluster, kept_cluster
from workflows.config import PipelineConfig
from workflows.home import Home, secrets
from workflows.raw import read_raw
from workflows.recipes import get_recipe
from workflows.registration.register import code_version, user_name
from workflows.registration.settings import renew_settings
from workflows.steps import Chain, NullTracker, PlannedStep, Tracker
from workflows.steps.state.layout import StepFolder
from workflows.steps.terminal import TerminalObserver
from workflows.tiny_base.chain import add_tiny_base, tiny_base_recipe
from workflows.tiny_base.config import TinyBaseConfig


@dataclass(frozen=True)
class StepChoice:
    """Which steps run: `--only`, `--from`, `--force`."""

    only: tuple[str, ...] = ()
    from_: str | None = None
    force: tuple[str, ...] = ()

    def options(self) -> dict[str, Any]:
        """As keyword arguments of `Chain.run` and `Chain.plan`."""
        return {"only": self.only, "from_": self.from_, "force": self.force}

    @property
    def partial(self) -> bool:
        """Whether only a part of the chain was asked for."""
        return bool(self.only)


@dataclass
class Timed(TerminalObserver):
    """The terminal's observer that also remembers how long each step took."""

    console: Console
    rows: list[show.StepTime] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(self.console)

    def on_hit(self, folder: StepFolder, reason: str, saved_s: float) -> None:
        """Remember a result that was there."""
        super().on_hit(folder, reason, saved_s)
        self.rows.append(show.StepTime(folder.step, "found", saved_s))

    def on_finished(self, folder: StepFolder, seconds: float, uri: str) -> None:
        """Remember a step that ran."""
        super().on_finished(folder, seconds, uri)
        self.rows.append(show.StepTime(folder.step, "ran", seconds))


def run_recipe(
    home: Home,
    name: str,
    assignments: Sequence[str],
    selection: StepChoice,
    *,
    address: str | None,
    keep: bool,
    command: str,
    console: Console,
) -> None:
    """Run a recipe to its end and report. Raises what stopped it, with the command that resumes."""
    recipe = _recipe(name, assignments)
    store = open_store(home.store_uri)
    show.print_heading(console, name, home.store_uri, home.tracking_uri)
    tracker = MlflowTracker(home.tracking_uri)
    tracker.warm_up()
    observer = Timed(console)
    # What this command starts it also stops; a service on a cluster that stays is left up.
    stays = keep or address is not None or kept_cluster(home.cluster_file) is not None
    with _cluster(home, address, keep) as connect:
        chain, parts = _chain(home, store, name, recipe, tracker, observer, connect, command)
        artifacts = chain.run(**selection.options())
        endpoint = None
        if isinstance(parts, pipeline.Pipeline) and stays and not selection.partial:
            connect()
            endpoint = _ensure_service(artifacts[parts.service.step], recipe)
        if isinstance(parts, pipeline.Pipeline) and parts.version.step in artifacts:
            _keep_settings(home, artifacts[parts.version.step], recipe, console)
        show.print_report(
            console,
            recipe,
            parts,
            artifacts,
            observer.rows,
            home,
            endpoint,
            run_id=tracker.run_id,
            on_cluster=address is not None,
        )


def plan_recipe(
    home: Home, name: str, assignments: Sequence[str], selection: StepChoice
) -> list[PlannedStep]:
    """Return what a run would do, step by step."""
    chain, _ = _plain_chain(home, name, assignments)
    return chain.plan(**selection.options())


def pin_step(
    home: Home,
    name: str,
    assignments: Sequence[str],
    step: str,
    key: str | None,
    remove: bool,
    console: Console,
) -> None:
    """Pin or unpin a step's result."""
    chain, _ = _plain_chain(home, name, assignments)
    if remove:
        removed = chain.unpin(step, key)
        console.print(f"{step}: {len(removed)} pin(s) removed")
        return
    console.print(f"{step}: result {chain.pin(step, key)} is kept although code changes")


def adopt_output(
    home: Home,
    name: str,
    assignments: Sequence[str],
    step: str,
    folder: str,
    record: Path | None,
    console: Console,
) -> None:
    """Register a folder made elsewhere as a step's result."""
    chain, _ = _plain_chain(home, name, assignments)
    body = None
    if record is not None:
        try:
            body = json.loads(record.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"--record {record}: not a JSON file with the fields ({error})"
            ) from None
    uri = folder if "://" in folder else str(Path(folder).resolve())
    artifact = chain.adopt(step, uri, body)
    console.print(f"{step}: {artifact.uri} taken as result, digest {artifact.digest[:12]}")


def _recipe(name: str, assignments: Sequence[str]) -> Config:
    if name == "tiny_base":
        return tiny_base_recipe(assignments)
    return get_recipe(name, assignments)


def _plain_chain(
    home: Home, name: str, assignments: Sequence[str]
) -> tuple[Chain, "pipeline.Pipeline | None"]:
    """The chain without tracker and cluster, for what reads or writes the store only."""
    recipe = _recipe(name, assignments)
    store = open_store(home.store_uri)
    return _chain(home, store, name, recipe, NullTracker(), Timed(Console(quiet=True)), _none, "")


def _none() -> None:
    """Connects to nothing."""


def _chain(
    home: Home,
    store: Store,
    name: str,
    recipe: Config,
    tracker: Tracker,
    observer: Timed,
    connect: Any,
    command: str,
) -> tuple[Chain, "pipeline.Pipeline | None"]:
    chain = Chain(
        store,
        name,
        tracker=tracker,
        observer=observer,
        ensure_cluster=connect,
        resume_command=command,
        params=recipe.canonical(),
        tags={
            "lavaflow.recipe": name,
            "lavaflow.code_version": code_version(),
            "mlflow.user": user_name(),
            "mlflow.source.name": command,
        },
        provenance={"code_version": code_version(), "command": command},
    )
    if isinstance(recipe, TinyBaseConfig):
        add_tiny_base(chain, recipe)
        return chain, None
    assert isinstance(recipe, PipelineConfig)
    base = read_base(recipe.base, home.path)
    raw: RawData | None = read_raw(recipe)
    return chain, pipeline.build(chain, recipe, base, raw, home.tracking_uri)


@contextlib.contextmanager
def _cluster(home: Home, address: str | None, keep: bool) -> Iterator[Any]:
    """Yield what connects to the cluster of this run, and leave it as it was found.

    Without an address: the cluster that `--keep` or `deploy` left running here, a new kept one with
    `keep`, else a local one that ends with the run.
    """

    def ensure() -> None:
        where: str | KeptCluster | None = address
        if where is None:
            kept = kept_cluster(home.cluster_file)
            if kept is None and keep:
                kept = keep_cluster(home.cluster_file)
            where = kept or None
        ensure_cluster(where, env_vars=secrets())

    try:
        yield ensure
    finally:
        ray = sys.modules.get("ray")
        if ray is not None and ray.is_initialized():
            ray.shutdown()


def _keep_settings(home: Home, version: Artifact, recipe: Config, console: Console) -> None:
    """Keep this run's settings with its version, also when its register step was found."""
    assert isinstance(version, RegisteredVersion) and isinstance(recipe, PipelineConfig)
    settings = VersionSettings.of(recipe)
    registry = Registry(home.tracking_uri)
    for change in renew_settings(registry, version.model_name, version.version, settings):
        console.print(f"Kept with {version.reference}: {change}", highlight=False)


def _ensure_service(deployment: Artifact, recipe: Config) -> str | None:
    """Have the deployed version answer, also when its deploy step was found; return the URL."""
    from components.serving.service import rollout

    assert isinstance(deployment, Deployment)
    running = rollout.service_status()
    if running is not None:
        if running.model.checkpoint == deployment.checkpoint_uri or not deployment.serves:
            return running.endpoint.url
        if running.endpoint.version != str(deployment.version):
            return running.endpoint.url  # somebody promoted another version since
    serving: ServingConfig = recipe.serving  # type: ignore[attr-defined]
    return rollout.serve_checkpoint(
        deployment.checkpoint_uri, serving, deployment.model_name, str(deployment.version)
    ).url
