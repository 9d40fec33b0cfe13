"""Whether a stage fits into its GPUs, the largest micro-batch that does, and what to change.

In: what `memory.estimate` takes, and the bytes of a GPU. Out: the estimate, or a ConfigError with
its parts and with advice in the order of cost; nothing is advised that the estimate does not show
to be enough. CPU workers are checked against nothing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from components.core.errors import ConfigError
from components.model.sizes.shapes import LlavaShapes
from components.training.config import StageConfig
from components.training.planning.memory import GIB, MemoryEstimate, estimate

LORA_RANK = 128
LORA_RATE = 2e-4
"""Rank and learning rate of the original's LoRA (finetune_lora.sh)."""
WORDS = {
    "weights": "weights",
    "gradients": "gradients",
    "optimizer": "optimizer state (fp32 weights, two moments)",
    "buckets": "communication buckets",
    "gathered": "weights gathered from other workers",
    "activations": "activations kept for the backward pass",
    "block": "gradients within a layer, and the layer itself where it is computed anew",
    "logits": "(logits of supervised tokens, in place of the line above)",
    "step": "(optimizer step, in place of gradients, gathered weights, activations)",
    "start": "(start of ZeRO-3, in place of all above)",
    "overhead": "CUDA, NCCL, fragmentation",
}
"""The parts of a MemoryEstimate for people."""


@dataclass(frozen=True)
class Stage:
    """What decides a stage's memory."""

    shapes: LlavaShapes
    config: StageConfig
    num_workers: int
    tokens_per_sample: float
    images_per_sample: float = 1.0

    def estimate(
        self, num_workers: int | None = None, rank: int | None = None, **changes: Any
    ) -> MemoryEstimate:
        """Return the memory of the stage with other settings, or with a LoRA of some rank."""
        config = self.config.with_(**changes) if changes else self.config
        return estimate(
            self.shapes,
            config,
            num_workers or self.num_workers,
            self.tokens_per_sample,
            images_per_sample=self.images_per_sample,
            rank=rank,
        )

    def room(self, gpu_bytes: int) -> int:
        """Bytes for one worker; several may share a GPU."""
        return int(gpu_bytes * min(1.0, self.config.num_gpus_per_worker))

    def largest_micro_batch(
        self, gpu_bytes: int, num_workers: int | None = None, **changes: Any
    ) -> int:
        """Return the largest micro-batch that fits at an unchanged global batch, 0 for none.

        It divides a worker's share of the global batch, so accumulation makes up the rest.
        """
        share = self.config.global_batch // (num_workers or self.num_workers)
        for size in _divisors(share):
            changed = {**changes, "micro_batch": size, "pack_tokens": None}
            if self.estimate(num_workers, **changed).total <= self.room(gpu_bytes):
                return size
        return 0


def fit(
    shapes: LlavaShapes,
    config: StageConfig,
    num_workers: int,
    gpu_bytes: int,
    tokens_per_sample: float,
    images_per_sample: float = 1.0,
) -> StageConfig:
    """Return the stage as it fits into GPUs of so many bytes: with a smaller micro-batch where its
    own does not, at an unchanged global batch. Packs are a choice of their own and stay.

    Raises ConfigError as `check_fits` when no micro-batch fits.
    """
    try:
        check_fits(shapes, config, num_workers, gpu_bytes, tokens_per_sample, images_per_sample)
    except ConfigError:
        if config.pack_tokens:
            raise
        stage = Stage(shapes, config, num_workers, tokens_per_sample, images_per_sample)
        size = stage.largest_micro_batch(gpu_bytes)
        if not size:
            raise
        return config.with_(micro_batch=size)
    return config


def check_fits(
    shapes: LlavaShapes,
    config: StageConfig,
    num_workers: int,
    gpu_bytes: int,
    tokens_per_sample: float,
    images_per_sample: float = 1.0,
) -> MemoryEstimate | None:
    """Return the memory of a stage that fits into GPUs of so many bytes; None for CPU workers.

    Raises ConfigError with the parts and with what would make it fit.
    """
    if not config.uses_gpu:
        return None
    stage = Stage(shapes, config, num_workers, tokens_per_sample, images_per_sample)
    found, room = stage.estimate(), stage.room(gpu_bytes)
    if found.total <= room:
        return found
    lines = "\n".join(f"  {line}" for line in table(found))
    advice = "; or ".join(_advice(stage, gpu_bytes))
    raise ConfigError(
        f"{config.name} does not fit into its GPUs: a worker needs {gib(found.total)}, there are "
        f"{gib(room)} ({num_workers} worker(s), ZeRO-{config.zero_stage}, "
        f"{found.micro_tokens:,} tokens in a micro-batch)\n{lines}\n"
        + (
            f"set {advice}"
            if advice
            else "nothing in the stage's settings makes it fit; choose a "
            "smaller language model or larger GPUs"
        )
    )


def table(found: MemoryEstimate) -> list[str]:
    """Return a line for each part that shows beside gigabytes."""
    parts = found.parts().items()
    return [f"{gib(value):>10}  {WORDS[name]}" for name, value in parts if value >= GIB / 20]


def gib(count: float) -> str:
    """Return bytes in words."""
    return f"{count / GIB:.1f} GiB"


def _advice(stage: Stage, gpu_bytes: int) -> list[str]:
    """What makes the stage fit, the cheapest first: one setting, else several; workers; a LoRA."""
    room = stage.room(gpu_bytes)
    settings = [words for words, found in _single(stage, gpu_bytes) if found.total <= room]
    if not settings:
        settings = _several(stage, gpu_bytes)
    workers = _more_workers(stage, gpu_bytes)
    if not settings and not workers:
        workers = _more_workers_and_leanest(stage, gpu_bytes)
    return [*settings, *workers, *_lora(stage, gpu_bytes)]


def _single(stage: Stage, gpu_bytes: int) -> Iterator[tuple[str, MemoryEstimate]]:
    """Each single setting in words, with the memory it would lead to."""
    config, name = stage.config, stage.config.name
    if config.pack_tokens is not None:
        # Below the mean sample nothing could be packed; a half at a time is near enough.
        tokens = config.pack_tokens // 2
        while tokens > stage.tokens_per_sample:
            found = stage.estimate(pack_tokens=tokens)
            if found.total <= stage.room(gpu_bytes):
                yield f"{name}.pack_tokens={tokens} ({gib(found.total)})", found
                break
            tokens //= 2
    elif size := stage.largest_micro_batch(gpu_bytes):
        found = stage.estimate(micro_batch=size)
        yield f"{name}.micro_batch={size} ({gib(found.total)})", found
    if not config.activation_checkpointing:
        found = stage.estimate(activation_checkpointing=True)
        yield f"{name}.activation_checkpointing=true ({gib(found.total)}, recomputes)", found
    if config.zero_stage != 3:
        found = stage.estimate(zero_stage=3)
        yield f"{name}.zero_stage=3 ({gib(found.total)}, more traffic)", found


def _several(stage: Stage, gpu_bytes: int) -> list[str]:
    """The first combination of settings that is enough, if any is."""
    config = stage.config
    recompute, split = {"activation_checkpointing": True}, {"zero_stage": 3}
    for changes in (recompute, split, {**recompute, **split}):
        news = {key: value for key, value in changes.items() if getattr(config, key) != value}
        size = stage.largest_micro_batch(gpu_bytes, **changes)
        if news and size:
            return [_together(stage, {**news, "micro_batch": size}, stage.num_workers, gpu_bytes)]
    return []


def _more_workers(stage: Stage, gpu_bytes: int) -> list[str]:
    """The fewest more workers that are enough with the present settings."""
    config = stage.config
    for number in _larger_numbers(stage):
        share = config.global_batch // number
        size = next(size for size in _divisors(share) if size <= config.micro_batch)
        found = stage.estimate(number, micro_batch=size)
        if found.total <= stage.room(gpu_bytes):
            return [f"{config.name}.num_workers={number} ({gib(found.total)})"]
    return []


def _more_workers_and_leanest(stage: Stage, gpu_bytes: int) -> list[str]:
    """The fewest more workers that are enough with every setting that saves memory."""
    lean = {"activation_checkpointing": True, "zero_stage": 3}
    for number in _larger_numbers(stage):
        if size := stage.largest_micro_batch(gpu_bytes, number, **lean):
            return [_together(stage, {**lean, "micro_batch": size}, number, gpu_bytes)]
    return []


def _larger_numbers(stage: Stage) -> list[int]:
    """Numbers of workers above the present that can share the global batch, smallest first."""
    divisors = reversed(_divisors(stage.config.global_batch))
    return [number for number in divisors if number > stage.num_workers]


def _together(stage: Stage, changes: Mapping[str, Any], num_workers: int, gpu_bytes: int) -> str:
    changed = {**changes, "pack_tokens": None} if stage.config.pack_tokens else dict(changes)
    found = stage.estimate(num_workers, **changed)
    assert found.total <= stage.room(gpu_bytes)
    if num_workers != stage.num_workers:
        changed["num_workers"] = num_workers
    words = {True: "true", None: "null"}
    texts = [f"{stage.config.name}.{key}={words.get(v, v)}" for key, v in changed.items()]
    return f"{', '.join(texts[:-1])} and {texts[-1]} together ({gib(found.total)})"


def _lora(stage: Stage, gpu_bytes: int) -> list[str]:
    """A LoRA in place of the language model's own weights, where it is enough."""
    config = stage.config
    if config.lora is not None or "language_model" not in config.train:
        return []
    found = stage.estimate(rank=LORA_RANK)
    if found.total > stage.room(gpu_bytes):
        return []
    # Another way to train, not only another way to place it: it has a learning rate of its own.
    return [
        f'{config.name}.lora={{"rank": {LORA_RANK}}} ({gib(found.total)}, adapters alone learn; '
        f"the original's learning rate is then {LORA_RATE:g})"
    ]


def _divisors(number: int) -> list[int]:
    """Divisors, the largest first."""
    return [size for size in range(number, 0, -1) if number % size == 0]
