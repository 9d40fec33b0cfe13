"""One optimizer step, the same with and without DeepSpeed and Ray.

In: an engine (a module with its optimizer), this rank's share of a global batch, the learning rate
of the step. Out: updated weights and the step's numbers. The loss is the mean over all supervised
tokens of the *global* batch: every token weighs the same however the samples are spread over ranks
and micro-batches (Hugging Face and the original average per rank first, so a rank with few answer
tokens weighs more).
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from components.core.errors import TrainingError
from components.training.engines.engine import Engine

if TYPE_CHECKING:
    from components.data.loader.loader import Batch


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
    num_images: int = 0
    of_sources: Mapping[str, "SourceLoss"] = field(default_factory=dict)
    """What each source has to do with it."""
    data_wait_s: float = field(default=0.0, compare=False)
    """How long this rank waited for its batch."""


@dataclass(frozen=True)
class SourceLoss:
    """Loss of one source's rows."""

    loss_sum: float
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


def seed_step(seed: int, step: int, rank: int) -> None:
    """Seed torch for this step and rank.

    Every random draw of a step is then a function of (seed, step, rank), so a resumed run needs no
    saved generator state to equal an uninterrupted one.
    """
    torch.manual_seed((seed * 1_000_003 + step) * 65_537 + rank)


def warmup_steps(num_steps: int, warmup_ratio: float) -> int:
    """Return how many of the steps warm up, rounded up as in the original."""
    return math.ceil(num_steps * warmup_ratio)


def learning_rate(step: int, num_steps: int, warmup_ratio: float, peak: float) -> float:
    """Return the learning rate of optimizer step `step` (counted from 0).

    Linear warm-up, then half a cosine down to zero; the first step runs at zero. A pure function
    of the step, so that a resumed run needs no scheduler state. The formulas are those of Hugging
    Face's `get_cosine_schedule_with_warmup`, which the original used.
    """
    warmup = warmup_steps(num_steps, warmup_ratio)
    if step < warmup:
        return peak * step / max(1, warmup)
    progress = (step - warmup) / max(1, num_steps - warmup)
    return peak * max(0.0, 0.5 * (1.0 + math.cos(math.pi * progress)))


def train_step(
    engine: Engine,
    next_batch: Callable[[], "Batch"],
    learning_rate: float,
    micro_batch: int,
    collective: Collective,
    sources: Sequence[str] = (),
) -> StepOutcome:
    """Take one optimizer step on this rank's share of a global batch.

    `next_batch` is called once; when it raises on any rank, or the loss is not finite on any rank,
    all ranks raise together, so that none waits for the others for ever. `sources` are those whose
    losses are told apart, the same on every rank.
    Raises DataError (a batch could not be read) and TrainingError (a loss that is not finite).
    """
    began = time.perf_counter()
    batch, trouble = _fetch(next_batch)
    waited_s = time.perf_counter() - began
    counts = collective.sum([*_counts(batch), float(trouble is not None)])
    if counts[4]:
        raise _reason(collective.agree(trouble))
    assert batch is not None
    # A global batch without any supervised token has gradient zero, not 0/0.
    scale = 1.0 / max(1.0, counts[0])
    losses = _Losses(sources)
    for piece, weight, last in _pieces(batch, micro_batch, int(counts[2]), collective.world_size):
        row_sums = engine.accumulate(piece, scale * weight, last)
        if weight:
            losses.add(piece, row_sums)
    rank_loss, by_source = losses.read()
    finite = math.isfinite(rank_loss)
    sums = [rank_loss, *by_source] if finite else [0.0] * (1 + len(by_source))
    num_broken, loss_sum, *by_source = collective.sum([float(not finite), *sums])
    if num_broken:
        # Nothing was applied: the weights are still those of the step before.
        raise _reason(collective.agree(None if finite else _not_finite("loss", rank_loss, batch)))
    norm = engine.apply(learning_rate)
    if not math.isfinite(norm):  # a norm over all ranks: they all see the same one
        raise _reason(collective.agree(_not_finite("gradient norm", norm, batch)))
    return StepOutcome(
        loss_sum * scale,
        norm,
        int(counts[2]),
        int(counts[1]),
        int(counts[0]),
        int(counts[3]),
        losses.of_sources(by_source),
        waited_s,
    )


def validation_loss(
    engine: Engine, batches: "Iterator[Batch]", micro_batch: int, collective: Collective
) -> float:
    """Return the mean loss per supervised token over all batches of all ranks.

    Every rank must bring equally many batches. Raises DataError where one cannot be read.
    """
    total, num_tokens = 0.0, 0.0
    while True:
        batch, trouble = _fetch(lambda: next(batches, None))
        counts = collective.sum([*_counts(batch), float(trouble is not None)])
        if counts[4]:
            raise _reason(collective.agree(trouble))
        if batch is None:
            break
        pieces = _pieces(batch, micro_batch, int(counts[2]), collective.world_size)
        for piece, weight, _ in pieces:
            total += weight * float(engine.evaluate(piece).double().sum())
        num_tokens += counts[0]
    (loss_sum,) = collective.sum([total])
    return loss_sum / max(1.0, num_tokens)


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


class _Losses:
    """Adds up the losses of a step's rows, all and by source; read once, at the end."""

    def __init__(self, sources: Sequence[str]) -> None:
        self._places = {source: place for place, source in enumerate(sources)}
        self._row_sums: list[Tensor] = []
        self._sources: list[str] = []
        self._tokens: list[int] = []

    def add(self, piece: "Batch", row_sums: Tensor) -> None:
        self._row_sums.append(row_sums)
        self._sources += piece.sources
        self._tokens += (piece.labels[:, 1:] >= 0).sum(dim=1).tolist()

    def read(self) -> tuple[float, list[float]]:
        """Return the sum, and loss sum and tokens of each source one after the other."""
        rows = torch.cat(self._row_sums).double().tolist()
        by_source = [0.0] * (2 * len(self._places))
        for loss, source, tokens in zip(rows, self._sources, self._tokens, strict=True):
            place = self._places.get(source)
            if place is not None:
                by_source[2 * place] += loss
                by_source[2 * place + 1] += tokens
        return math.fsum(rows), by_source

    def of_sources(self, sums: Sequence[float]) -> dict[str, SourceLoss]:
        """Return what `read` gave, summed over the ranks, by source; those without tokens not."""
        pairs = zip(self._places, sums[::2], sums[1::2], strict=True)
        return {name: SourceLoss(loss, int(tokens)) for name, loss, tokens in pairs if tokens}


def _counts(batch: "Batch | None") -> tuple[float, float, float, float]:
    """Supervised tokens, tokens without padding, samples, images."""
    if batch is None:
        return 0.0, 0.0, 0.0, 0.0
    # The first position has no predecessor, so its label is never predicted.
    supervised = int((batch.labels[:, 1:] >= 0).sum())
    return supervised, int(batch.attention_mask.sum()), len(batch.sample_ids), len(batch.pixels)


def _not_finite(what: str, value: float, batch: "Batch") -> TrainingError:
    return TrainingError(
        f"the {what} is {value}, expected a finite number; samples of this rank's share: "
        f"{', '.join(map(str, batch.sample_ids))}; lower the learning rate or look at these samples"
    )


def _reason(error: Exception | None) -> Exception:
    assert error is not None
    return error


def _fetch(next_batch: "Callable[[], Batch | None]") -> "tuple[Batch | None, Exception | None]":
    try:
        return next_batch(), None
    except Exception as error:  # noqa: BLE001 -- handed on by train_step once all ranks know of it
        return None, error
