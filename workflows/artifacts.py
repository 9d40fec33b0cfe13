"""What the last two hops are asked for and leave behind: a registered version and a deployment.

Schemas only; imports fast.
"""

import json
from typing import TYPE_CHECKING, Self

from components.core.artifact import Artifact
from components.core.config import Config
from components.registry import names
from components.registry.gate import GateConfig
from components.registry.scores import ScoreRow
from components.serving.config import ServingConfig

if TYPE_CHECKING:
    # The last two steps must not depend on the settings of all the others.
    from workflows.config import PipelineConfig


class VersionSettings(Config):
    """The part of a recipe that is needed after its run."""

    serving: ServingConfig
    """How the service runs it."""
    gate: GateConfig
    """When it is refused as champion."""

    @classmethod
    def of(cls, recipe: "PipelineConfig") -> Self:
        """Return a recipe's."""
        return cls(serving=recipe.serving, gate=recipe.registry.gate)

    def tags(self) -> dict[str, str]:
        """Return them as the version's tag."""
        return {names.SETTINGS: json.dumps(self.canonical(), sort_keys=True)}


class RegisterConfig(Config):
    """Where and under which name a model is registered."""

    recipe: str
    """Name of the recipe that made it."""
    model_name: str
    """Name of the registered model."""
    tracking_uri: str
    """The registry. Identity: a version in one registry does not exist in another."""
    settings: VersionSettings
    """What is kept with the version. Identity, but for ports, replicas and resources."""


class RegisteredVersion(Artifact):
    """A version in the registry, and what the gate said about it."""

    model_name: str
    version: int
    checkpoint_uri: str
    checkpoint_digest: str
    is_champion: bool
    """Whether it was made champion at once (there was none)."""
    gate_passed: bool
    gate_reasons: tuple[str, ...] = ()
    scores: tuple[ScoreRow, ...] = ()

    @property
    def reference(self) -> str:
        """`name/3`."""
        return f"{self.model_name}/{self.version}"


class SampleQuestions(Config):
    """Questions asked over HTTP after a deploy: the proof that the whole chain works."""

    files: tuple[str, ...] = ()
    """Question files (JSON lines with `image` and `text`) below the raw data; the first question of
    each is asked.
    """
    max_new_tokens: int = 192
    """Longest answer."""


class DeployConfig(Config):
    """What the service must answer before the chain is done."""

    serving: ServingConfig
    samples: SampleQuestions


class SampleAnswer(Config):
    """One question that was asked over HTTP."""

    image_path: str
    """Local path of the image."""
    question: str
    answer: str


class Deployment(Artifact):
    """A version that was served and answered."""

    model_name: str
    version: int
    checkpoint_uri: str
    url: str
    """Where it answered when it was deployed."""
    serves: bool
    """Whether the service was given this version; a candidate beside a running champion is only
    tried out.
    """
    answers: tuple[SampleAnswer, ...] = ()
