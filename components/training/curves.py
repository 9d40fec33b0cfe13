"""The points of a stage's curves: what the steps of an interval were like, on average.

In: the outcome of each step, perhaps the arithmetic that a step takes. Out: numbers by name; the
names are those in MLflow and on dashboards.
"""

import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from components.model.sizes.flops import flops_per_sample, mfu
from components.model.sizes.shapes import LlavaShapes
from components.training.config import StageConfig

if TYPE_CHECKING:
    from components.training.loop import StepOutcome


@dataclass(frozen=True)
class Arithmetic:
    """Model FLOPs of a stage's steps (see `components.model.sizes.flops`), and what a device can
    do."""

    shapes: LlavaShapes
    config: StageConfig
    world_size: int
    peak_flops: float | None

    def flops(self, outcome: "StepOutcome") -> float:
        """Return the model FLOPs of a step over all ranks.

        Taken as so many samples of mean length: attention, which grows with the square, is a few
        percent of the whole, so the spread of lengths does not matter.
        """
        samples = max(1, outcome.num_samples)
        return samples * flops_per_sample(
            self.shapes,
            self.config.train,
            outcome.num_tokens / samples,
            outcome.num_supervised_tokens / samples,
            outcome.num_images / samples,
            self.config.lora.rank if self.config.lora else 0,
        )


@dataclass
class LogInterval:
    """The steps since the last point of the curves."""

    started: float = field(default_factory=time.perf_counter)
    outcomes: list["StepOutcome"] = field(default_factory=list)
    arithmetic: "Arithmetic | None" = None

    def point(self, rate: float) -> dict[str, float]:
        seconds = max(1e-9, time.perf_counter() - self.started)
        count = len(self.outcomes)
        return (
            self._of_sources()
            | self._of_arithmetic(seconds)
            | {
                "train/loss": sum(o.loss for o in self.outcomes) / count,
                "train/grad_norm": sum(o.grad_norm for o in self.outcomes) / count,
                "train/learning_rate": rate,
                "train/samples_per_s": sum(o.num_samples for o in self.outcomes) / seconds,
                "train/tokens_per_s": sum(o.num_tokens for o in self.outcomes) / seconds,
                "train/data_wait_share": sum(o.data_wait_s for o in self.outcomes) / seconds,
                "train/peak_memory_bytes": _peak_memory_bytes(),
            }
        )

    def _of_arithmetic(self, seconds: float) -> dict[str, float]:
        """Return model FLOP/s of a device, and their share of its peak where that is known."""
        if self.arithmetic is None:
            return {}
        flops = sum(map(self.arithmetic.flops, self.outcomes)) / self.arithmetic.world_size
        share = mfu(flops, seconds, self.arithmetic.peak_flops)
        return {"train/model_tflops_per_s": flops / seconds / 1e12} | (
            {} if share is None else {"train/mfu": share}
        )

    def _of_sources(self) -> dict[str, float]:
        """Return the mean loss per supervised token of each source that the interval saw."""
        sums: dict[str, tuple[float, int]] = {}
        for outcome in self.outcomes:
            for source, part in outcome.of_sources.items():
                loss, tokens = sums.get(source, (0.0, 0))
                sums[source] = loss + part.loss_sum, tokens + part.num_supervised_tokens
        return {f"train/loss/{source}": loss / tokens for source, (loss, tokens) in sums.items()}


def _peak_memory_bytes() -> float:
    """Return the most memory this process has had: of the GPU where it has one, else resident."""
    import resource

    import torch

    if torch.cuda.is_available():
        return float(torch.cuda.max_memory_allocated())
    # getrusage(2): kilobytes on Linux, bytes on macOS.
    unit_bytes = 1.0 if sys.platform == "darwin" else 1024.0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit_bytes
