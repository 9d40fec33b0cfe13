"""Settings of the service: address, replicas, limits.

In: values from a recipe. Out: a frozen `ServingConfig`. Imports nothing heavy, because the command
line reads this schema before it knows whether anything will be served.
"""

from typing import Self

from pydantic import Field, model_validator
from pydantic.config import JsonDict

from components.core.config import Config

_PLACE: JsonDict = {"identity": False}
"""Marks fields that say where and how widely the service runs, not what it answers."""


class ReplicaRange(Config):
    """How many replicas run: a fixed number (minimum == maximum) or a range after the load."""

    minimum: int = Field(default=1, ge=1)
    """Replicas that always run."""
    maximum: int = Field(default=1, ge=1)
    """Most replicas under load. Surge replicas of a rollout come on top for a moment."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.minimum > self.maximum:
            raise ValueError(
                f"minimum is {self.minimum} and maximum is {self.maximum}; "
                "expected minimum <= maximum"
            )
        return self

    @property
    def fixed(self) -> bool:
        """Whether the number is constant, so that no autoscaler is involved."""
        return self.minimum == self.maximum

    def __str__(self) -> str:
        return str(self.minimum) if self.fixed else f"{self.minimum} to {self.maximum}"


class ServingConfig(Config):
    """How a checkpoint is served. The defaults suit a small model on a laptop."""

    host: str = Field(default="127.0.0.1", json_schema_extra=_PLACE)
    """Address that the HTTP proxy listens on. 0.0.0.0 opens the service to the network; a cluster
    of several nodes needs it, because the deploying node is not always the head.
    """
    port: int = Field(default=8000, ge=1, le=65535, json_schema_extra=_PLACE)
    """Port of the HTTP proxy. It cannot change while Serve runs on the cluster."""
    replicas: ReplicaRange = Field(default=ReplicaRange(), json_schema_extra=_PLACE)
    """Number of replicas, fixed or a range."""
    num_cpus_per_replica: float = Field(default=0.25, ge=0, json_schema_extra=_PLACE)
    """CPUs that a replica reserves. Small, so that a surge replica fits beside the old one."""
    num_gpus_per_replica: float = Field(default=0, ge=0, json_schema_extra=_PLACE)
    """GPUs that a replica reserves. With 0 it computes on the CPU."""
    num_threads: int = Field(default=1, ge=1, json_schema_extra=_PLACE)
    """torch threads of a replica on the CPU; more than one helps only larger models."""

    dtype: str = Field(default="float32", pattern="^(float32|bfloat16|float16)$")
    """Precision of weights and activations."""
    max_batch_size: int = Field(default=8, ge=1)
    """Most requests that one forward pass answers together."""
    batch_wait_s: float = Field(default=0.005, ge=0, le=1, json_schema_extra=_PLACE)
    """Time that a waiting request is held back for others to join its batch."""
    max_new_tokens: int = Field(default=512, ge=1)
    """Most tokens of an answer; also what a request without `max_tokens` gets."""
    default_temperature: float = Field(default=0.0, ge=0, le=2)
    """Temperature of a request that names none. 0 is greedy, as in the evaluation of LLaVA-1.5."""

    max_ongoing_requests: int = Field(default=32, ge=1, json_schema_extra=_PLACE)
    """Most requests that a replica holds at once, waiting ones included."""
    max_queued_requests: int = Field(default=256, ge=-1, json_schema_extra=_PLACE)
    """Most requests that wait in the proxy when all replicas are full; then it answers 503."""
    max_request_bytes: int = Field(default=32 * 2**20, ge=1024)
    """Largest request body (a base64 image is a third larger than its file)."""
    max_image_bytes: int = Field(default=10 * 2**20, ge=1024)
    """Largest decoded image file."""
    max_image_pixels: int = Field(default=40_000_000, ge=1)
    """Most pixels of an image; a small file can unpack to very many."""
    max_messages: int = Field(default=64, ge=1)
    """Most messages of a conversation."""

    startup_timeout_s: float = Field(default=300, gt=0, json_schema_extra=_PLACE)
    """Longest time from a deploy until the replicas are healthy."""
    graceful_shutdown_timeout_s: float = Field(default=120, ge=0, json_schema_extra=_PLACE)
    """Time that a replaced replica has to finish its answers; Serve's 20 s cuts long ones off."""


class ServedModel(Config):
    """What a service answers with: these are the arguments of the Serve application.

    Serve keeps them, so that another process can read back what runs and change one thing of it.
    """

    checkpoint: str
    """Folder or URI of the checkpoint; every node that runs a replica must reach it."""
    model_name: str
    """Name under which clients ask for the model."""
    version: str
    """Registry version, shown by /v1/models and /health."""
    config: ServingConfig = Field(default=ServingConfig())
    """Settings of the replicas. Its `replicas` is what the deploy asked for; a later scale wins."""
