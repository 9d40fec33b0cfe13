"""The register step in a real chain, on a real registry, without Ray: what it keeps, and when it
runs anew.
"""

import itertools
from pathlib import Path
from typing import Any

import pytest

from components.core.config import Config
from components.core.store import Store
from components.registry.connection import connect, sqlite_uri
from components.registry.versions import Registry
from components.training.config import ModelCheckpoint
from tests.workflows.steps.conftest import ThreadExecutor
from workflows.artifacts import RegisterConfig, RegisteredVersion, VersionSettings
from workflows.base import read_base
from workflows.config import BaseConfig, PipelineConfig
from workflows.recipes import get_recipe
from workflows.recipes.tiny import BASE
from workflows.registration.register import register_model
from workflows.registration.settings import settings_of
from workflows.steps import Chain, StepContext

numbers = itertools.count()


def finetune(
    config: Config | None, inputs: dict[str, Any], context: StepContext
) -> ModelCheckpoint:
    (context.output_path / "model.safetensors").write_text("weights")
    return ModelCheckpoint(num_parameters=7, num_steps=3, final_loss=0.5)


def register(
    config: RegisterConfig, inputs: dict[str, Any], context: StepContext
) -> RegisteredVersion:
    return register_model(config, inputs["base"], inputs["model"], [], context)


class Registrations:
    """Registers the same model again and again, with other settings."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.registry = Registry(sqlite_uri(path / "mlflow.db"))
        self.model_name = f"mine-{next(numbers)}"

    def recipe(self, *assignments: str) -> PipelineConfig:
        return get_recipe("llava15_7b", [f"registry.model_name={self.model_name}", *assignments])

    def run(self, *assignments: str) -> int:
        """Return the number of the version that the chain ends with."""
        recipe = self.recipe(*assignments)
        places = {part: str(BASE / part) for part in ("vision_tower", "language_model")}
        base = read_base(BaseConfig(**places), self.path)
        chain = Chain(Store(str(self.path / "store")), "test", executor=ThreadExecutor())
        model = chain.add("finetune", finetune, inputs={"start": base}, returns=ModelCheckpoint)
        chain.add(
            "register",
            register,
            config=RegisterConfig(
                recipe=recipe.name,
                model_name=recipe.registry.model_name,
                tracking_uri=self.registry.tracking_uri,
                settings=VersionSettings.of(recipe),
            ),
            inputs={"base": base, "model": model},
            returns=RegisteredVersion,
        )
        version = chain.run()["register"]
        assert isinstance(version, RegisteredVersion)
        return version.version


@pytest.fixture(scope="module")
def registrations(tmp_path_factory: pytest.TempPathFactory) -> Registrations:
    return Registrations(tmp_path_factory.mktemp("registrations"))


def test_the_resolved_settings_are_kept(registrations: Registrations) -> None:
    changed = ("serving.max_new_tokens=99", "registry.gate.tolerance_points=3")
    number = registrations.run(*changed)
    kept = settings_of(registrations.registry.version(registrations.model_name, number))
    assert kept == VersionSettings.of(registrations.recipe(*changed))
    assert (kept.serving.dtype, kept.serving.num_gpus_per_replica) == ("bfloat16", 1)


def test_what_is_answered_makes_a_version_and_where_does_not(registrations: Registrations) -> None:
    first = registrations.run()
    assert registrations.run("serving.port=9123", "serving.replicas.maximum=4") == first
    assert registrations.run("serving.dtype=float16") != first
    assert registrations.run("registry.gate.tolerance_points=5") != first


def test_the_card_names_the_parts_and_their_licences(registrations: Registrations) -> None:
    number = str(registrations.run())
    client = connect(registrations.registry.tracking_uri)
    card = client.get_model_version(registrations.model_name, number).description
    lines = card.splitlines()
    assert "| vision tower | lavaflow tiny vision tower (CLIPVisionModel) |" in lines
    assert "* lavaflow tiny language model (LlamaForCausalLM): apache-2.0" in lines
    assert "| connector | mlp2x_gelu, on layer -2 of the vision tower |" in lines
    assert str(BASE) not in card
