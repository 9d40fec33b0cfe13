"""The shape of a recipe: one typed configuration of the whole pipeline. Values live in
`workflows/recipes/`.

In: the schemas of the floors below. Out: `PipelineConfig`. Imports fast: no torch, Ray or MLflow.
"""

from typing import Any

from pydantic import Field

from components.core.config import Config
from components.data.config import PrepareConfig
from components.data.pocket.config import PocketConfig
from components.evaluation.config import EvaluationConfig
from components.registry.gate import GateConfig
from components.serving.config import ServingConfig
from components.training.config import StageConfig
from workflows.artifacts import SampleQuestions

_NOT_IDENTITY: dict[str, Any] = {"identity": False}


class BaseConfig(Config):
    """The ready-made parts that training starts from."""

    vision_tower: str = Field(json_schema_extra=_NOT_IDENTITY)
    """CLIP or SigLIP tower (transformers layout, safetensors): a folder, s3://bucket/prefix, or
    organisation/name[@revision] of the model hub. Its content is identity, its place is not.
    """
    language_model: str = Field(json_schema_extra=_NOT_IDENTITY)
    """Causal language model (Llama, Mistral, Qwen) with its tokenizer; named in the same way."""
    connector: str = "mlp2x_gelu"
    """Kind of connector between them (LLaVA-1.5: a two-layer MLP)."""
    feature_layer: int = -2
    """Layer of the tower whose patches are read (LLaVA-1.5: the last but one)."""
    select: str = "default"
    """Which positions of that layer: "default" drops the class token (the original's `patch`)."""


class RegistryConfig(Config):
    """Where finished models are registered and when they may become champion."""

    model_name: str
    """Name of the registered model; its versions are the pipeline's results."""
    gate: GateConfig = GateConfig()
    """When a candidate is refused."""


class PipelineConfig(Config):
    """A recipe: everything that decides what one run of the pipeline makes."""

    name: str
    """Name of the recipe."""
    description: str = Field(default="", json_schema_extra=_NOT_IDENTITY)
    """One line for `lavaflow recipes`."""
    raw_uri: str | None = Field(default=None, json_schema_extra=_NOT_IDENTITY)
    """Folder with the raw annotations and images; None draws the pocket world."""
    pocket: PocketConfig | None = None
    """The pocket world to draw when there is no raw folder."""
    base: BaseConfig
    pretrain_data: PrepareConfig
    finetune_data: PrepareConfig
    pretrain: StageConfig
    finetune: StageConfig
    evaluation: EvaluationConfig
    registry: RegistryConfig
    serving: ServingConfig
    samples: SampleQuestions = SampleQuestions()
