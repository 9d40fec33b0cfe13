"""One optimizer step, the same with and without DeepSpeed and Ray.

In: an engine (a module with its optimizer), this rank's share of a global batch, the learning
rate. Out: updated weights and the step's numbers. The loss is the mean over all supervised tokens
of the *global* batch: every token weighs the same however the samples are spread over ranks and
micro-batches (Hugging Face and the original average per rank first, so a rank with few answer
tokens weighs more).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

from components.core.errors import TrainingError

if TYPE_CHECKING:
    from components.data.loader import Batch


@dataclass(frozen=True)
class StepOutcome:
    """What one optimizer step did; every number is over the global batch."""

    loss: float
    """Mean loss per supervised token."""
    grad_norm: float
    """Gradient norm before clipping."""
    num_samples: int
    num_tokens: int
    """Text and image tokens without padding."""
    num_supervised_tokens: int


class Collective(Protocol):
    """Adds numbers over the ranks."""

    world_size: int

    def sum(self, values: Sequence[float]) -> list[float]:
        """Return each value summed over all ranks; every rank must call it equally often."""
        ...

    def agree(self, error: Exception | None) -> Exception | None:
        """Return the first error that any rank brings, the same on all of them."""
        ...


class Alone:
    """The collective of a single process."""

    world_size = 1

    def sum(self, values: Sequence[float]) -> list[float]:
        """Return the values as they are."""
        return list(values)

    def agree(self, error: Exception | None) -> Exception | None:
        """Return the error itself."""
        return error


class Engine(Protocol):
    """A module with an optimizer that can accumulate gradients and apply them."""

    def accumulate(self, piece: "Batch", scale: float, last: bool) -> float:
        """Run forward and backward on `scale` times the summed token loss; return that sum."""
        ...

    def apply(self, learning_rate: float) -> float:
        """Clip, step the optimizer, clear the gradients; return the norm before clipping."""
        ...


class SummedLoss(nn.Module):
    """The model with its loss: maps a batch to the *sum* of its supervised tokens' losses.

    A module, because ZeRO-3 gathers weights in the hooks of the outermost module's forward. Under
    `autocast` the matrix products run in bfloat16 while weights and optimizer stay fp32: on a CPU
    with bfloat16 instructions that is faster than DeepSpeed's bf16 mode and keeps Adam exact.
    """

    def __init__(self, loss_module: nn.Module, autocast: bool = False):
        super().__init__()
        self.loss_module = loss_module
        self._autocast = autocast

    def forward(self, batch: "Batch") -> Tensor:
        """Return the summed token loss, a scalar in fp32."""
        kind = batch.input_ids.device.type
        with torch.autocast(kind, dtype=torch.bfloat16) if self._autocast else nullcontext():
            output = self.loss_module(
                batch.input_ids, batch.labels, batch.attention_mask, batch.pixels
            )
        return output.loss_sum.float()


class PlainEngine:
    """The engine of one process without DeepSpeed: torch's optimizer and nothing else."""

    def __init__(
        self, module: SummedLoss, optimizer: torch.optim.Optimizer, gradient_clipping: float
    ):
        self.module = module
        self._optimizer = optimizer
        self._clipping = gradient_clipping
        self._parameters = [p for p in module.parameters() if p.requires_grad]

    def accumulate(self, piece: "Batch", scale: float, last: bool) -> float:
        """Run forward and backward on `scale` times the summed token loss; return that sum."""
        loss = self.module(piece)
        (loss * scale).backward()
        return loss.item()

    def apply(self, learning_rate: float) -> float:
        """Clip, step the optimizer, clear the gradients; return the norm before clipping."""
        # clip_grad_norm_ scales by limit / (norm + 1e-6), as DeepSpeed does; no limit is infinity.
        norm = nn.utils.clip_grad_norm_(self._parameters, self._clipping or float("inf"))
        set_learning_rate(self._optimizer, learning_rate)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return norm.item()


def optimizer_for(
    module: nn.Module, weight_decay: float, betas: tuple[float, float], epsilon: float
) -> torch.optim.Optimizer:
    """Return AdamW over the parameters that learn; only matrices decay (as Hugging Face does)."""
    learning = [p for p in module.parameters() if p.requires_grad]
    if not learning:
        raise TrainingError("no parameter is set to learn; name at least one part in `train`")
    if weight_decay:
        groups = [
            {"params": [p for p in learning if p.ndim >= 2], "weight_decay": weight_decay},
            {"params": [p for p in learning if p.ndim < 2], "weight_decay": 0.0},
        ]
        groups = [group for group in groups if group["params"]]
    else:
        groups = [{"params": learning, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=0.0, betas=betas, eps=epsilon)


def set_learning_rate(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Give every parameter group this learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seed torch for this step and rank.

    Every random draw of a step is then a function of (seed, step, rank), so a resumed run needs no
    saved generator state to equal an uninterrupted one.
    """
    torch.manual_seed((seed * 1_000_003 + step) * 65_537 + rank)


def train_step(
    engine: Engine,
    next_batch: Callable[[], "Batch"],
    learning_rate: float,
    micro_batch: int,
    collective: Collective,
) -> StepOutcome:
    """Take one optimizer step on this rank's share of a global batch.

    `next_batch` is called once; when it raises on any rank, or the loss is not finite on any rank,
    all ranks raise together, so that none waits for the others for ever.
    Raises DataError (a batch could not be read) and TrainingError (a loss that is not finite).
    """
    batch, trouble = _fetch(next_batch)
    counts = collective.sum([*_counts(batch), float(trouble is not None)])
    if counts[3]:
        raise _reason(collective.agree(trouble))
    assert batch is not None
    # A global batch without any supervised token has gradient zero, not 0/0.
    scale = 1.0 / max(1.0, counts[0])
    rank_loss = 0.0
    for piece, weight, last in _pieces(batch, micro_batch, int(counts[2]), collective.world_size):
        rank_loss += weight * engine.accumulate(piece, scale * weight, last)
    finite = math.isfinite(rank_loss)
    loss_sum, num_broken = collective.sum([rank_loss if finite else 0.0, float(not finite)])
    if num_broken:
        # Nothing was applied: the weights are still those of the step before.
        raise _reason(collective.agree(None if finite else _not_finite("loss", rank_loss, batch)))
    norm = engine.apply(learning_rate)
    if not math.isfinite(norm):  # a norm over all ranks: they all see the same one
        raise _reason(collective.agree(_not_finite("gradient norm", norm, batch)))
    return StepOutcome(loss_sum * scale, norm, int(counts[2]), int(counts[1]), int(counts[0]))


def _pieces(
    batch: "Batch", micro_batch: int, num_samples: int, world_size: int
) -> "Iterator[tuple[Batch, float, bool]]":
    """Cut a rank's share into micro-batches, equally many on every rank.

    A share may be one sample shorter than another, or have an empty pack; where that makes one
    piece less, the last piece runs once more with weight zero, because ZeRO's collectives must
    match on all ranks.
    """
    if batch.packs is not None:
        wanted = len(batch.packs)
    else:
        wanted = math.ceil(math.ceil(num_samples / world_size) / micro_batch)
    pieces = list(batch.micro_batches(micro_batch))
    assert 1 <= len(pieces) <= wanted, "every rank has a piece, and no more than were planned"
    for index in range(wanted):
        piece = pieces[min(index, len(pieces) - 1)]
        yield piece, float(index < len(pieces)), index == wanted - 1


def _counts(batch: "Batch | None") -> tuple[float, float, float]:
    """Supervised tokens, tokens without padding, samples."""
    if batch is None:
        return 0.0, 0.0, 0.0
    # The first position has no predecessor, so its label is never predicted.
    supervised = int((batch.labels[:, 1:] >= 0).sum())
    return supervised, int(batch.attention_mask.sum()), len(batch.sample_ids)


def _not_finite(what: str, value: float, batch: "Batch") -> TrainingError:
    return TrainingError(
        f"the {what} is {value}, expected a finite number; samples of this rank's share: "
        f"{', '.join(map(str, batch.sample_ids))}; lower the learning rate or look at these samples"
    )


def _reason(error: Exception | None) -> Exception:
    assert error is not None
    return error


def _fetch(next_batch: "Callable[[], Batch]") -> "tuple[Batch | None, Exception | None]":
    try:
        return next_batch(), None
    except Exception as error:  # noqa: BLE001 -- handed on by train_step once all ranks know of it
        return None, error
