"""The DeepSpeed settings of a stage, every value written out.

In: a StageConfig and the number of workers. Out: the JSON object for `deepspeed.initialize`.
Nothing is left to DeepSpeed's defaults where a default has changed between versions or depends on
the model's size. Compare zero2.json and zero3.json of the original: their `auto` values are
explicit here.
"""

from dataclasses import dataclass
from typing import Any

from components.core.errors import ConfigError
from components.training.config import StageConfig

# zero2.json and zero3.json leave these to `auto`, which Hugging Face fills with hidden_size squared
# (16.8 M elements at 7B). DeepSpeed allocates a bucket in full, so a small model gets small ones.
_LARGEST_BUCKET = 50_000_000
_SMALLEST_BUCKET = 500_000


@dataclass(frozen=True)
class BatchPlan:
    """How a global batch is cut: micro_batch * accumulation * num_workers == global_batch."""

    global_batch: int
    """Samples per optimizer step over all workers."""
    rank_batch: int
    """Samples per optimizer step and worker."""
    micro_batch: int
    """Samples per forward pass and worker."""
    accumulation: int
    """Forward passes per optimizer step."""


def plan_batches(config: StageConfig, num_workers: int) -> BatchPlan:
    """Cut the global batch for `num_workers`.

    Raises ConfigError when the workers, or the micro-batches of a worker, cannot share it evenly.
    """
    rank_batch, rest = divmod(config.global_batch, num_workers)
    if rest or not rank_batch:
        raise ConfigError(
            f"{config.name}.global_batch={config.global_batch} cannot be shared evenly by "
            f"{num_workers} workers; choose a multiple of {num_workers}, or num_workers one of "
            f"{_divisors(config.global_batch)}"
        )
    micro_batch = min(config.micro_batch, rank_batch)
    if rank_batch % micro_batch:
        raise ConfigError(
            f"{config.name}.micro_batch={config.micro_batch} does not divide a worker's share of "
            f"{rank_batch} samples (global_batch={config.global_batch}, {num_workers} workers); "
            f"choose one of {_divisors(rank_batch)}"
        )
    return BatchPlan(config.global_batch, rank_batch, micro_batch, rank_batch // micro_batch)


def deepspeed_config(
    config: StageConfig, num_workers: int, num_trainable: int = 2_000_000_000
) -> dict[str, Any]:
    """Return the complete DeepSpeed settings of a stage for `num_workers` ranks."""
    plan = plan_batches(config, num_workers)
    return {
        "train_batch_size": plan.global_batch,
        "train_micro_batch_size_per_gpu": plan.micro_batch,
        "gradient_accumulation_steps": plan.accumulation,
        "gradient_clipping": config.gradient_clipping,
        "zero_optimization": _zero(config, num_trainable),
        # AdamW comes from torch: DeepSpeed's own CPU Adam would compile C++ at first use.
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        # On a CPU the weights stay fp32 and the forward pass runs under autocast (see loop.py).
        "bf16": {"enabled": config.precision == "bf16" and config.uses_gpu},
        "fp16": {"enabled": False},
        "torch_autocast": {"enabled": False},
        "communication_data_type": None,
        "prescale_gradients": False,
        "gradient_predivide_factor": 1.0,
        "steps_per_print": 1_000_000_000,
        "wall_clock_breakdown": False,
        "memory_breakdown": False,
        "dump_state": False,
    }


def _zero(config: StageConfig, num_trainable: int) -> dict[str, Any]:
    bucket = min(_LARGEST_BUCKET, max(_SMALLEST_BUCKET, num_trainable))
    zero: dict[str, Any] = {
        "stage": config.zero_stage,
        "contiguous_gradients": True,
        # There is no second stream to overlap with on a CPU: it only adds copies there.
        "overlap_comm": config.uses_gpu,
        "reduce_scatter": True,
        "reduce_bucket_size": bucket,
        "allgather_partitions": True,
        "allgather_bucket_size": bucket,
        "round_robin_gradients": False,
    }
    if config.zero_stage == 3:
        zero |= {
            "sub_group_size": 1_000_000_000,
            "stage3_prefetch_bucket_size": bucket,
            "stage3_param_persistence_threshold": 100_000,
            "stage3_max_live_parameters": 1_000_000_000,
            "stage3_max_reuse_distance": 1_000_000_000,
            "stage3_gather_16bit_weights_on_model_save": False,
            # Needed only where weights are too large to keep for the backward pass; on a CPU it
            # replaces torch's linear by a slower Python function.
            "memory_efficient_linear": config.uses_gpu,
        }
    return zero


def _divisors(number: int) -> str:
    return ", ".join(str(k) for k in range(1, number + 1) if number % k == 0)
