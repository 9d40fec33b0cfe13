"""The settings that travel with a version: deploy, promote and the roll-over take exactly these.

The registry is real (sqlite); of the service only the calls are looked at.
"""

import contextlib
import itertools
import json
from pathlib import Path

import pytest
from rich.console import Console

from components.core.errors import GateRefused, RegistryError
from components.core.store import open_store
from components.registry import names
from components.registry.connection import sqlite_uri
from components.registry.ledger import Ledger
from components.registry.scores import ScoreRow
from components.registry.versions import Registration, Registry, ResolvedVersion
from components.serving.config import ServedModel, ServingConfig
from components.serving.service import rollout
from components.serving.service.rollout import Endpoint, ServiceStatus
from tests.workflows.command_line import Lavaflow
from workflows.artifacts import VersionSettings
from workflows.config import PipelineConfig
from workflows.home import Home
from workflows.recipes import get_recipe
from workflows.registration.settings import renew_settings, settings_of
from workflows.service import deploy, promote

numbers = itertools.count()
NAMED = ("registry.model_name=mine", "serving.max_new_tokens=99")
LOOSE = (*NAMED, "registry.gate.tolerance_points=30")


@pytest.fixture(scope="module")
def tracking_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return sqlite_uri(tmp_path_factory.mktemp("mlflow") / "mlflow.db")


class House:
    """A home with a registry and one model of its own in it."""

    def __init__(self, path: Path, tracking_uri: str) -> None:
        self.home = Home(path, str(path / "store"), tracking_uri)
        self.registry = Registry(tracking_uri)
        self.name = f"mine-{next(numbers)}"
        self.console = Console(quiet=True)

    def register(self, settings: VersionSettings | None, percent: float = 80.0) -> ResolvedVersion:
        """Register a version as the register step does; None: as older code did."""
        checkpoint = self.home.path / "checkpoint"
        checkpoint.mkdir(exist_ok=True)
        score = ScoreRow(benchmark="pope", percent=percent, ci_low=percent, ci_high=percent)
        registration = Registration(
            checkpoint_uri=str(checkpoint),
            checkpoint_digest="d",
            recipe="llava15_7b",
            scores=(score,),
            tags=settings.tags() if settings else {},
        )
        return self.registry.register(self.name, registration)

    def deploy(self, version: int, *assignments: str, **more: object) -> None:
        options = {"address": "auto", "port": None, "recipe": None, "console": self.console}
        deploy.deploy_model(
            self.home, f"{self.name}/{version}", assignments=assignments, **{**options, **more}
        )

    def promote(self, version: int, recipe: str | None = None) -> None:
        promote.promote_version(
            self.home,
            self.name,
            version,
            address="auto",
            reason="",
            force=False,
            recipe=recipe,
            console=self.console,
        )


@pytest.fixture
def house(tmp_path: Path, tracking_uri: str) -> House:
    return House(tmp_path, tracking_uri)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[ServingConfig]:
    """The settings that were handed to the service, in place of a service."""
    configs: list[ServingConfig] = []

    def take(checkpoint: str, config: ServingConfig, *named: str) -> Endpoint:
        configs.append(config)
        return Endpoint("http://127.0.0.1:8000", *named)

    for module in (deploy, promote):
        monkeypatch.setattr(module, "connected", lambda *_a, **_k: contextlib.nullcontext(True))
    monkeypatch.setattr(rollout, "serve_checkpoint", take)
    monkeypatch.setattr(
        rollout, "roll_over", lambda uri, version, config: take(uri, config, "", version)
    )
    return configs


def recipe(*assignments: str) -> PipelineConfig:
    return get_recipe("llava15_7b", assignments)


def test_a_version_of_another_name_is_served_as_its_recipe_says(
    house: House, served: list[ServingConfig]
) -> None:
    house.register(VersionSettings.of(recipe(*NAMED)))
    house.deploy(1)
    assert served == [recipe(*NAMED).serving]
    assert (served[0].dtype, served[0].num_gpus_per_replica) == ("bfloat16", 1)


def test_an_override_of_deploy_wins_and_is_not_kept(
    house: House, served: list[ServingConfig]
) -> None:
    house.register(VersionSettings.of(recipe(*NAMED)))
    house.deploy(1, "serving.num_gpus_per_replica=0", "serving.dtype=float32", port=9123)
    house.deploy(1)
    kept = recipe(*NAMED).serving
    changed = kept.with_(num_gpus_per_replica=0, dtype="float32", port=9123)
    assert served == [changed, kept]


def test_the_gate_of_the_candidate_decides(house: House, served: list[ServingConfig]) -> None:
    strict, loose = (VersionSettings.of(recipe(*more)) for more in (NAMED, LOOSE))
    house.register(loose, 80.0)
    house.register(strict, 70.0)
    house.register(loose, 70.0)
    running = ServiceStatus(
        Endpoint("http://127.0.0.1:8000", "another", "1"),
        "RUNNING", "", 1, ServedModel(checkpoint="/x", model_name="another", version="1"),
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rollout, "service_status", lambda: running)
        house.promote(1)
        with pytest.raises(GateRefused, match=r"a drop up to 1\.0 would be allowed"):
            house.promote(2)
        house.promote(3)
    (*_, last) = Ledger(open_store(house.home.store_uri)).entries(house.name)
    assert (last.action, last.version) == ("promote", 3)
    assert last.report is not None and last.report.rows[0].allowed_drop == 30.0
    assert served == []  # a service that answers with another model is left alone


def test_a_roll_over_takes_the_settings_of_the_new_version(
    house: House, served: list[ServingConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    house.register(VersionSettings.of(recipe(*NAMED)))
    running = ServedModel(checkpoint="/x", model_name=house.name, version="0")
    endpoint = Endpoint("http://127.0.0.1:8000", house.name, "0")
    status = ServiceStatus(endpoint, "RUNNING", "", 1, running)
    monkeypatch.setattr(rollout, "service_status", lambda: status)
    house.promote(1)
    assert served == [recipe(*NAMED).serving]


def test_a_version_without_settings_is_refused_until_a_recipe_is_named(
    house: House, served: list[ServingConfig], lavaflow: Lavaflow
) -> None:
    house.register(None)
    message = f"{house.name}/1: no serving settings .* --recipe llava15_7b, or run its recipe again"
    with pytest.raises(RegistryError, match=message):
        house.deploy(1)
    with pytest.raises(RegistryError, match=message):
        house.promote(1)
    assert house.registry.alias(house.name, names.CHAMPION) is None  # refused before it moved
    house.deploy(1, recipe="llava15_13b")
    assert served == [get_recipe("llava15_13b").serving]
    told = lavaflow("deploy", f"{house.name}/1", "--tracking-uri", house.home.tracking_uri)
    assert told.returncode == RegistryError.exit_code
    assert "--recipe llava15_7b" in told.stderr + told.stdout


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda kept: {**kept, "arms": 2}, "no key 'arms'"),
        (lambda kept: {**kept, "serving": {**kept["serving"], "dtype": "int3"}}, "dtype = 'int3'"),
        (lambda kept: [], "cannot be read here"),
    ],
    ids=["unknown", "invalid", "another form"],
)
def test_settings_of_another_lavaflow_are_refused_in_words(house: House, spoil, said: str) -> None:
    version = house.register(VersionSettings.of(recipe()))
    text = json.dumps(spoil(json.loads(version.tags[names.SETTINGS])))
    house.registry.set_tags(house.name, 1, {names.SETTINGS: text})
    with pytest.raises(RegistryError, match=f"(?s){said}.*--recipe llava15_7b"):
        settings_of(house.registry.version(house.name, 1))


def test_the_settings_of_the_last_run_stand(house: House) -> None:
    """Its register step is found: ports and replicas do not identify it."""
    house.register(VersionSettings.of(recipe()))
    new = VersionSettings.of(recipe("serving.port=9123", "serving.replicas.maximum=3"))
    told = renew_settings(house.registry, house.name, 1, new)
    assert told == ["serving.port: 8000 -> 9123", "serving.replicas.maximum: 1 -> 3"]
    assert settings_of(house.registry.version(house.name, 1)) == new
    assert renew_settings(house.registry, house.name, 1, new) == []


@pytest.mark.parametrize("text", ["{broken", "[]", "null", "5", '"words"'])
def test_a_tag_that_somebody_spoilt_is_refused_and_the_next_run_mends_it(
    house: House, text: str
) -> None:
    settings = VersionSettings.of(recipe())
    house.register(settings)
    house.registry.set_tags(house.name, 1, {names.SETTINGS: text})
    with pytest.raises(RegistryError, match=r"(?s)cannot be read here .* --recipe llava15_7b"):
        settings_of(house.registry.version(house.name, 1))
    (told,) = renew_settings(house.registry, house.name, 1, settings)
    assert "could not be read" in told
    assert settings_of(house.registry.version(house.name, 1)) == settings


def test_a_version_that_was_deleted_ends_no_run(house: House, caplog) -> None:
    house.register(None)
    assert renew_settings(house.registry, house.name, 9, VersionSettings.of(recipe())) == []
    assert "has no version 9" in caplog.text


def test_settings_fit_into_a_tag_of_older_servers() -> None:
    (text,) = VersionSettings.of(recipe()).tags().values()
    assert len(text) < 5000
