"""What a training stage will take: parameters, memory per GPU, arithmetic and hours, before it
runs.

In: a recipe's name with overrides, perhaps the memory of a GPU. Out: facts per stage, as text for
`lavaflow plan` and as JSON. Of the base folders no weight is read, and no torch is imported.
The lengths of texts are the means that are assumed below, not those of the data: no published file
gives them.
"""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.markup import escape

from components.core.errors import CheckpointError, ConfigError, StoreError
from components.core.logs import format_bytes
from components.model.folders import local_folder, pin_address
from components.model.sizes.flops import flops_per_sample, peak_flops
from components.model.sizes.shapes import LlavaShapes, read_shapes
from components.training.config import StageConfig
from components.training.planning.disk import DiskNeed, disk_need
from components.training.planning.memory import (
    GIB,
    MemoryEstimate,
    estimate,
    lora_rank,
    num_learning,
)
from components.training.planning.memory_fit import check_fits, fit, gib, table
from workflows.config import BaseConfig, PipelineConfig
from workflows.recipes import get_recipe

GPUS = ("A100", "H100/H200")
"""GPUs for which hours are told, by names that `peak_flops` knows."""
MFUS = (0.4, 0.5)
"""Shares of the peak: public code for such models reaches 35 to 40 percent (lmms-engine's README);
half is the aim."""
_PARTS = {
    "vision_tower": "vision tower",
    "connector": "connector",
    "language_model_body": "language model",
    "embeddings": "embeddings",
    "head": "head",
}


@dataclass(frozen=True)
class DataFacts:
    """What is taken of a stage's data."""

    samples: int
    """Published number of samples."""
    images: float
    """Images per sample."""
    text_tokens: int
    """Mean tokens of a sample's text, assumed: 558K captions of a sentence; for the 665K mixture
    what brings a mean sample to 790 tokens (1,548 bytes of JSON a sample allow 390 at most)."""


# Samples: blip_laion_cc_sbu_558k.json and llava_v1_5_mix665k.json, of which 40,688 have no image
# (LLaVA issue #657).
DATA = {
    "pretrain": DataFacts(558_128, 1.0, 34),
    "finetune": DataFacts(665_298, 624_610 / 665_298, 249),
}


@dataclass(frozen=True)
class StageFacts:
    """One stage in numbers."""

    shapes: LlavaShapes
    config: StageConfig
    """With the micro-batch that fits, where the memory of a GPU was given."""
    asked_micro_batch: int
    """That of the recipe."""
    tokens: float
    """Tokens of a mean sample, images included."""
    images: float
    flops: float
    """Model FLOPs of a mean sample."""
    memory: MemoryEstimate | None
    """None for CPU workers."""
    longest: MemoryEstimate | None
    """The same if every sample were as long as the data may be; None too where packs are cut."""

    @property
    def disk(self) -> DiskNeed:
        """Bytes that the stage writes."""
        return disk_need(self.config, num_learning(self.shapes, self.config), self.shapes.total)

    def hours(self, gpu: str, mfu: float) -> float:
        """Return the hours that the published data take on the stage's GPUs."""
        peak = peak_flops(gpu)
        assert peak is not None
        num_gpus = self.config.num_workers * min(1.0, self.config.num_gpus_per_worker)
        samples = DATA[self.config.name].samples * self.config.epochs
        return samples * self.flops / (num_gpus * peak * mfu) / 3600

    def to_json(self) -> dict[str, Any]:
        """Return the facts as plain values, in bytes, FLOP and hours."""
        config = self.config
        facts: dict[str, Any] = {
            "parameters": self.shapes.parameters,
            "num_trainable": num_learning(self.shapes, config),
            "tokens_per_sample": round(self.tokens),
            "flops_per_sample": self.flops,
            "bytes_per_checkpoint": self.disk.checkpoint,
            "bytes_in_store": self.disk.store,
        }
        if self.memory is not None:
            facts["bytes_per_gpu"] = {**self.memory.parts(), "total": self.memory.total}
            facts["micro_batch"] = config.micro_batch
            facts["micro_batch_tokens"] = self.memory.micro_tokens
            facts["hours"] = {
                gpu: {f"{mfu:.0%}": round(self.hours(gpu, mfu), 2) for mfu in MFUS} for gpu in GPUS
            }
        if self.longest is not None:
            facts["bytes_per_gpu_longest"] = self.longest.total
        return facts


@dataclass(frozen=True)
class RecipeFacts:
    """The training stages of a recipe, by step name."""

    stages: Mapping[str, StageFacts]
    problem: str = ""
    """Why there are none, where the sizes of the base folders cannot be read."""

    def to_json(self) -> dict[str, dict[str, Any]]:
        """Return the facts as plain values, by step name."""
        return {name: stage.to_json() for name, stage in self.stages.items()}


def read_facts(
    name: str, assignments: Sequence[str], gpu_memory_gb: float | None = None
) -> RecipeFacts:
    """Return the facts of a recipe's training stages; none for a recipe of another kind.

    With the memory of a GPU, as they run on such: with the micro-batch that fits.
    """
    recipe = None if name == "tiny_base" else get_recipe(name, assignments)
    if not isinstance(recipe, PipelineConfig):
        return RecipeFacts({})
    try:
        shapes = _shapes(recipe.base)
    except (CheckpointError, ConfigError, StoreError) as error:
        return RecipeFacts({}, str(error))
    stages = (
        (recipe.pretrain, recipe.pretrain_data.max_tokens),
        (recipe.finetune, recipe.finetune_data.max_tokens),
    )
    return RecipeFacts(
        {stage.name: _facts(shapes, stage, longest, gpu_memory_gb) for stage, longest in stages}
    )


def print_facts(console: Console, facts: RecipeFacts, gpu_memory_gb: float | None) -> None:
    """Show a block per stage, beside a GPU's memory where that is given."""
    for stage in facts.stages.values():
        console.print(f"\n[bold]{stage.config.name}[/]", highlight=False)
        for line in _lines(stage, gpu_memory_gb):
            console.print(f"  {line}", highlight=False, soft_wrap=True)
    closing = ""
    if facts.problem:
        closing = f"No estimate of memory and hours: {facts.problem}"
    elif facts.stages:
        texts = " and ".join(f"{DATA[name].text_tokens} ({name})" for name in facts.stages)
        closing = f"Assumed: texts of {texts} tokens on average, all of them supervised."
    if closing:
        console.print(f"\n[dim]{escape(closing)}[/]", highlight=False, soft_wrap=True)


def check_memory(facts: RecipeFacts, gpu_memory_gb: float | None) -> None:
    """Raise ConfigError, with advice, for the stages that cannot fit into GPUs of this memory.

    The GB of a GPU's name are taken as 2**30 bytes, as `nvidia-smi` shows them.
    """
    if gpu_memory_gb is None:
        return
    found = [facts.problem] if facts.problem else []
    for stage in facts.stages.values():
        config, gpu_bytes = stage.config, int(gpu_memory_gb * GIB)
        try:
            check_fits(
                stage.shapes, config, config.num_workers, gpu_bytes, stage.tokens, stage.images
            )
        except ConfigError as error:
            found.append(str(error))
    if found:
        raise ConfigError("\n".join(found))


def _shapes(base: BaseConfig) -> LlavaShapes:
    tower, language_model = (
        local_folder(pin_address(address), weights=False)
        for address in (base.vision_tower, base.language_model)
    )
    return read_shapes(
        tower,
        language_model,
        connector=base.connector,
        feature_layer=base.feature_layer,
        select=base.select,
    )


def _facts(
    shapes: LlavaShapes, stage: StageConfig, max_tokens: int, gpu_memory_gb: float | None
) -> StageFacts:
    data, asked = DATA[stage.name], stage.micro_batch
    tokens = data.images * shapes.patches_per_image + data.text_tokens
    if gpu_memory_gb is not None:
        gpu_bytes = int(gpu_memory_gb * GIB)
        with contextlib.suppress(ConfigError):  # raised by `check_memory`, once all is shown
            stage = fit(shapes, stage, stage.num_workers, gpu_bytes, tokens, data.images)
    flops = flops_per_sample(
        shapes, stage.train, tokens, data.text_tokens, data.images, lora_rank(stage)
    )
    memory = longest = None
    if stage.uses_gpu:
        workers, images = stage.num_workers, data.images
        memory = estimate(shapes, stage, workers, tokens, images_per_sample=images)
        if stage.pack_tokens is None:
            longest = estimate(shapes, stage, workers, max_tokens, images_per_sample=images)
    return StageFacts(shapes, stage, asked, tokens, data.images, flops, memory, longest)


def _lines(stage: StageFacts, gpu_memory_gb: float | None) -> list[str]:
    config, parameters = stage.config, stage.shapes.parameters
    parts = ", ".join(f"{_PARTS[name]} {_count(size)}" for name, size in parameters.items())
    learning = num_learning(stage.shapes, config)
    lines = [
        f"parameters  {_count(stage.shapes.total)}, of which {_count(learning)} learn: {parts}",
        *_memory_lines(stage, gpu_memory_gb),
        f"compute     {_flop(stage.flops)} per sample of {stage.tokens:.0f} tokens",
        _checkpoint_line(stage),
    ]
    if stage.memory is not None:
        data = DATA[config.name]
        times = "; ".join(
            f"{gpu} {', '.join(f'{stage.hours(gpu, mfu):.1f} h at {mfu:.0%}' for mfu in MFUS)} MFU"
            for gpu in GPUS
        )
        lines.append(f"hours       {data.samples:,} samples on {_gpus(config)}: {times}")
    return lines


def _checkpoint_line(stage: StageFacts) -> str:
    config, disk = stage.config, stage.disk
    when = [f"every {config.checkpoint_every_steps} steps"] * bool(config.checkpoint_every_steps)
    when += [f"every {config.checkpoint_every_s:g} s"] * bool(config.checkpoint_every_s)
    each = " and ".join(when) or "at the end alone"
    return (
        f"checkpoints {format_bytes(disk.checkpoint)} each, {each}; "
        f"{format_bytes(disk.store)} in the store at most, with the model"
    )


def _memory_lines(stage: StageFacts, gpu_memory_gb: float | None) -> list[str]:
    found, config = stage.memory, stage.config
    if found is None:
        return ["memory      not estimated: the workers have no GPUs"]
    of = "" if gpu_memory_gb is None else f" of {gpu_memory_gb:g} GiB"
    lines = [
        f"memory      {gib(found.total)}{of} per GPU on {_gpus(config)}, ZeRO-{config.zero_stage}, "
        f"{found.micro_tokens:,} tokens in a micro-batch"
    ]
    if config.micro_batch != stage.asked_micro_batch:
        lines.append(
            f"            micro-batch {config.micro_batch} in place of {stage.asked_micro_batch}, "
            f"to fit; the global batch stays {config.global_batch}"
        )
    lines += [f"            {line}" for line in table(found)]
    if stage.longest is not None:
        longest = stage.longest
        lines.append(
            f"            {gib(longest.total):>10}  at most, if all samples had max_tokens"
        )
    return lines


def _gpus(config: StageConfig) -> str:
    number = config.num_workers * config.num_gpus_per_worker
    return f"{number:g} GPU" + ("" if number == 1 else "s")


def _count(number: int) -> str:
    return f"{number / 1e9:.2f} B" if number >= 1e9 else f"{number / 1e6:.1f} M"


def _flop(flops: float) -> str:
    return f"{flops / 1e12:.3g} TFLOP" if flops >= 1e11 else f"{flops / 1e9:.3g} GFLOP"
