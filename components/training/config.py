"""The settings of one training stage, and what a stage starts from and leaves behind.

In: values from a recipe. Out: frozen, checked settings. Nothing heavy is imported here, so that
the command line can parse a recipe in milliseconds. Values live in `workflows/recipes/`; each
field names the original's value (scripts pretrain.sh and finetune.sh of LLaVA-1.5) or why there is
none.
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from components.core.artifact import Artifact
from components.core.config import Config
from components.model.learning.lora_settings import LoraSettings

Part = Literal["connector", "language_model", "vision_tower"]


class StageConfig(Config):
    """One training stage: what learns, how fast, on which batches, and how the run is kept safe."""

    name: Literal["pretrain", "finetune"]
    """Stage: pretrain (feature alignment) or finetune (visual instruction tuning)."""
    train: tuple[Part, ...] = Field(min_length=1)
    """Parts that learn; the rest is frozen. Original: connector; then also language_model."""
    template: Literal["plain", "vicuna_v1"]
    """Conversation template the data were prepared with. Original: plain; then v1."""
    learning_rate: float = Field(gt=0)
    """Peak learning rate. Original: 1e-3; then 2e-5."""
    connector_learning_rate: float | None = Field(default=None, gt=0)
    """Peak learning rate of the connector, where it is another. Original: none; with LoRA 2e-5
    (`mm_projector_lr`)."""
    lora: LoraSettings | None = None
    """Adapters that learn in place of the language model's own weights; merged at the end.
    Original: none; in finetune_lora.sh rank 128, alpha 256."""
    global_batch: int = Field(gt=0)
    """Samples per optimizer step over all workers. Original: 256; then 128. The incomplete last
    batch of an epoch is dropped; the original takes it (2,181 steps for 2,180; 5,198 for 5,197)."""
    epochs: int = Field(default=1, gt=0)
    """Passes over the data. Original: 1."""
    max_steps: int | None = Field(default=None, gt=0)
    """Stop after this many optimizer steps, with a schedule as long as that. None: all epochs."""
    warmup_ratio: float = Field(default=0.03, ge=0, lt=1)
    """Share of the steps that warm up linearly. Original: 0.03."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Decoupled weight decay of AdamW. Original: 0."""
    adam_beta1: float = Field(default=0.9, ge=0, lt=1)
    """First-moment decay of AdamW. Original: 0.9 (the Hugging Face default)."""
    adam_beta2: float = Field(default=0.999, ge=0, lt=1)
    """Second-moment decay of AdamW. Original: 0.999 (the Hugging Face default)."""
    adam_epsilon: float = Field(default=1e-8, gt=0)
    """Denominator floor of AdamW. Original: 1e-8 (the Hugging Face default)."""
    gradient_clipping: float = Field(default=1.0, ge=0)
    """Largest global gradient norm; 0 turns clipping off. Always written to DeepSpeed, whose own
    default changed from off to 1.0 in 0.19.3: the original asked for 1.0 and ran unclipped."""
    precision: Literal["bf16", "fp32"] = "bf16"
    """bf16: on GPU bf16 weights with fp32 master weights; on CPU fp32 weights, and products in bf16
    where the processor has instructions for them. Original: bf16."""
    seed: int = 42
    """Seed of the data order and of every random draw. Original: 42 (the Hugging Face default)."""

    micro_batch: int = Field(default=16, gt=0, json_schema_extra={"identity": False})
    """Most samples a worker holds in one forward pass; accumulation makes up the global batch. Less
    where the estimate of memory (`check_memory`) says that so many do not fit. Original: 32; 16."""
    pack_tokens: int | None = Field(default=None, gt=0, json_schema_extra={"identity": False})
    """Most tokens a worker holds in one forward pass; whole samples are packed up to it and workers
    are balanced by cost. None: cut by `micro_batch`. Original: none."""
    zero_stage: Literal[1, 2, 3] = Field(default=2, json_schema_extra={"identity": False})
    """DeepSpeed ZeRO stage: what is split over the workers. Original: 2; then 3."""
    loader_threads: int = Field(default=1, gt=0, json_schema_extra={"identity": False})
    """Threads that read and decode images ahead, in each worker. Original: 4 processes."""
    image_cache_bytes: int = Field(default=50 * 2**30, gt=0, json_schema_extra={"identity": False})
    """Most bytes of images from an object store that a machine keeps on its disk."""
    activation_checkpointing: bool = Field(default=False, json_schema_extra={"identity": False})
    """Recompute activations in the backward pass to save memory. Original: true in both stages."""
    num_workers: int = Field(default=1, gt=0, json_schema_extra={"identity": False})
    """Ray Train workers (ranks). The data order does not depend on it. Original: 8."""
    num_cpus_per_worker: float = Field(default=1, gt=0, json_schema_extra={"identity": False})
    """CPU cores each worker reserves and uses as threads."""
    num_gpus_per_worker: float = Field(default=0, ge=0, json_schema_extra={"identity": False})
    """GPUs each worker reserves; 0 trains on the CPU."""
    checkpoint_every_steps: int = Field(default=0, ge=0, json_schema_extra={"identity": False})
    """Optimizer steps between checkpoints, at most half a run; 0: only the final one. The
    original's intervals are longer than its runs, so it never wrote one."""
    checkpoint_every_s: float = Field(default=0, ge=0, json_schema_extra={"identity": False})
    """Seconds between checkpoints, beside those by steps; 0: by steps alone."""
    keep_checkpoints: int = Field(default=2, ge=2, json_schema_extra={"identity": False})
    """Newest checkpoints kept; at least two, so that a damaged one has a predecessor."""
    check_memory: bool = Field(default=True, json_schema_extra={"identity": False})
    """Before the first step, lower the micro-batch to what the estimate says fits into the GPUs,
    and refuse a stage of which none does."""
    max_failures: int = Field(default=3, ge=0, json_schema_extra={"identity": False})
    """Restarts from the last checkpoint after a worker dies, before the stage is given up."""
    validate_every_steps: int = Field(default=0, ge=0, json_schema_extra={"identity": False})
    """Optimizer steps between two losses over the held-out rows; 0: at the end alone. Without
    held-out rows there is none. Original: none."""
    hang_timeout_s: float = Field(default=1800, gt=0, json_schema_extra={"identity": False})
    """A step that takes longer is a hang: the worker writes the stacks of all its threads to its
    log and ends, and the group goes on from the last checkpoint."""
    log_every_steps: int = Field(default=10, gt=0, json_schema_extra={"identity": False})
    """Optimizer steps between two reports. Each report carries the points of all its steps."""

    @model_validator(mode="after")
    def _lora_has_something_to_adapt(self) -> Self:
        if self.lora is not None and "language_model" not in self.train:
            raise ValueError("lora adapts the language model; name `language_model` in train")
        return self

    @property
    def uses_gpu(self) -> bool:
        """Whether the workers hold GPUs."""
        return self.num_gpus_per_worker > 0


class BasePaths(Config):
    """The two parts a first stage starts from, and the connector that is to join them."""

    vision_tower_path: str = Field(json_schema_extra={"identity": False})
    """Folder of the vision tower (Hugging Face layout, safetensors), or a pinned address of one
    (see `components.model.folders`)."""
    language_model_path: str = Field(json_schema_extra={"identity": False})
    """The same of the language model and its tokenizer."""
    connector: str = "mlp2x_gelu"
    """Kind of the new connector. Original: mlp2x_gelu."""
    feature_layer: int = -2
    """Layer of the tower whose output feeds the connector. Original: -2."""
    select: str = "default"
    """Which patches are taken: default drops the class token. Original: patch, the same thing."""


class ModelCheckpoint(Artifact):
    """What a stage leaves: a LLaVA folder that transformers loads, and how it was made."""

    stage: str = ""
    """Name of the stage that wrote it."""
    num_steps: int = 0
    """Optimizer steps taken."""
    num_samples: int = 0
    """Samples seen: steps times the global batch."""
    final_loss: float = 0.0
    """Mean loss per supervised token over the last steps (at most 10)."""
    validation_loss: float | None = None
    """Mean loss per supervised token of the held-out rows, where there are any."""
    num_trainable: int = 0
    """Parameters that learned."""
    num_parameters: int = 0
    """Parameters in all."""
    template: str = ""
    """Conversation template the model was trained with."""
