"""The two sides of `gpu_training.py`: our step, and a padded loop over transformers' own LLaVA.

In: one model and one optimizer, which both share, and steps of samples. Out: steps taken, each with
its loss and gradient norm. Both minimise the mean over all supervised tokens of the step.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from transformers import LlavaForConditionalGeneration

from components.data.loader.batch import Batch, collate
from components.data.loader.packing import plan_packs
from components.model.attention.norms import FUSABLE, fuse_norms
from components.model.attention.packed import attend_packed
from components.model.embed import normalise_pixels
from components.model.loss import LossModel
from components.training.engines.engine import (
    SummedLoss,
    optimizer_for,
    set_learning_rate,
)
from components.training.loop import train_step
from tests.benchmarks.gpu_samples import Drawn, Step
from tests.benchmarks.gpu_shapes import Size
from tests.training.master_weights import MasterWeights
from tests.training.plain import Alone, PlainEngine

CLIPPING = 1.0


@dataclass(frozen=True)
class Normal:
    """What `ImageSpec` says of pixel values; CLIP's, as in `components/data/config.py`."""

    mean: tuple[float, ...] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, ...] = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Adam:
    """What `optimizer_for` reads of a `StageConfig`, which needs pydantic; the recipe's values."""

    learning_rate: float = 1.0
    connector_learning_rate: float | None = None
    weight_decay: float = 0.0
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    adam_epsilon: float = 1e-8


@dataclass(frozen=True)
class Setting:
    """How a side cuts a step, and how it keeps activations."""

    amount: int
    """Most tokens of a pack (ours), samples of a micro-batch (the peer)."""
    checkpoint_every: int
    """Every which layer is recomputed; 0: none."""

    def text(self, unit: str) -> str:
        """Return the setting for people to read."""
        kinds = {0: "no checkpointing", 1: "checkpointing"}
        kept = kinds.get(self.checkpoint_every, f"checkpointing 1 of {self.checkpoint_every}")
        return f"{self.amount:,} {unit}, {kept}"


class Side(Protocol):
    """One way to train the model."""

    name: str
    unit: str

    def use(self, setting: Setting, steps: Sequence[Step]) -> None:
        """Set the model up and lay the samples out; none of it is timed."""
        ...

    def step(self, number: int, learning_rate: float) -> tuple[float, float]:
        """Take an optimizer step; return mean loss and gradient norm."""
        ...


class Ours:
    """The project's own step: packed rows, varlen attention, `loop.train_step`."""

    name, unit = "ours", "tokens a pack"

    def __init__(self, model: LlavaForConditionalGeneration, size: Size, adam: MasterWeights):
        self._model, self._size = model, size
        module = SummedLoss(LossModel(model, Normal()))
        self._engine = PlainEngine(module, adam, CLIPPING)
        self._batches: list[Batch] = []

    def use(self, setting: Setting, steps: Sequence[Step]) -> None:
        """Lay each step out as the loader does: whole samples dealt to packs by cost."""
        attend_packed(self._model.model.language_model)
        fuse_norms(self._model)
        checkpoint_every(self._model, setting.checkpoint_every)
        self._batches = [self._packed(step, setting.amount) for step in steps]

    def step(self, number: int, learning_rate: float) -> tuple[float, float]:
        """Take an optimizer step; return mean loss and gradient norm."""
        batch = self._batches[number]
        found = train_step(self._engine, lambda: batch, learning_rate, len(batch), Alone())
        return found.loss, found.grad_norm

    def _packed(self, step: Step, pack_tokens: int) -> Batch:
        (packs,) = plan_packs([one.num_tokens for one in step], pack_tokens, 1)
        rows = [step[place] for pack in packs for place in pack]
        side = self._size.shapes.vision.image_px
        return collate(
            [row.sample for row in rows],
            pixels_of(rows, side),
            self._size.image_token + 1,
            tuple(map(len, packs)),
        )


class Peer:
    """A loop over Hugging Face's model as one writes it: padded micro-batches, its own loss.

    `every` is which layers it recomputes (`Setting.checkpoint_every`).

    Floats of the pixels lie ready in pinned memory and cost it nothing; ours normalises in its
    step.
    """

    unit = "samples at once"

    def __init__(
        self,
        name: str,
        every: int,
        model: LlavaForConditionalGeneration,
        size: Size,
        adam: MasterWeights,
    ):
        self.name, self.every = name, every
        self._model, self._size, self._adam = model, size, adam
        self._learning = [p for p in model.parameters() if p.requires_grad]
        self._steps: list[list[dict[str, Any]]] = []

    def use(self, setting: Setting, steps: Sequence[Step]) -> None:
        """Pad each micro-batch, in the given order, to its longest sample."""
        self._model.model.language_model.set_attn_implementation("sdpa")
        for module in self._model.modules():  # transformers' own norms again
            if type(module).__name__ in FUSABLE:
                vars(module).pop("forward", None)
        checkpoint_every(self._model, setting.checkpoint_every)
        size = setting.amount
        self._steps = [
            [self._padded(step[start : start + size]) for start in range(0, len(step), size)]
            for step in steps
        ]

    def step(self, number: int, learning_rate: float) -> tuple[float, float]:
        """Take an optimizer step; return mean loss and gradient norm."""
        pieces, device = self._steps[number], self._model.device
        num_supervised = sum(piece["num_supervised"] for piece in pieces)
        losses = []
        for piece in pieces:
            inputs = {k: v.to(device, non_blocking=True) for k, v in piece["inputs"].items()}
            loss = self._model(**inputs, use_cache=False, num_items_in_batch=num_supervised).loss
            loss.backward()
            losses.append(loss.detach())
        norm = nn.utils.clip_grad_norm_(self._learning, CLIPPING)
        set_learning_rate(self._adam, learning_rate)
        self._adam.step()
        self._adam.zero_grad()
        return float(torch.stack(losses).sum()), float(norm)

    def _padded(self, rows: Step) -> dict[str, Any]:
        side, dtype = self._size.shapes.vision.image_px, self._model.dtype
        batch = collate(
            [row.sample for row in rows], pixels_of(rows, side), self._size.image_token + 1
        )
        inputs = {
            "input_ids": batch.input_ids,
            "labels": batch.labels,
            "attention_mask": batch.attention_mask,
        }
        if len(batch.pixels):
            floats = normalise_pixels(batch.pixels, Normal(), dtype)
            inputs["pixel_values"] = floats
        if self._model.device.type == "cuda":
            inputs = {name: tensor.pin_memory() for name, tensor in inputs.items()}
        return {"inputs": inputs, "num_supervised": sum(row.num_supervised for row in rows)}


def shared_adam(model: LlavaForConditionalGeneration) -> MasterWeights:
    """Return the optimizer of both sides with all its memory taken."""
    adam = MasterWeights(optimizer_for(model, Adam()))
    # The moments come with the first step: now, before activations lie between them.
    adam.step()
    return adam


def checkpoint_every(model: LlavaForConditionalGeneration, number: int) -> None:
    """Recompute one of so many layers in the backward pass, none for 0."""
    model.gradient_checkpointing_disable()
    if number == 1:
        model.gradient_checkpointing_enable()  # as worker.py does
    elif number:
        model.gradient_checkpointing_enable(every_n_layers=number)


def pixels_of(rows: Sequence[Drawn], side: int) -> Tensor:
    """Return the images of the rows that have one, uint8 [N, 3, P, P]."""
    found = [row.pixels for row in rows if row.pixels is not None]
    return torch.stack(found) if found else torch.zeros((0, 3, side, side), dtype=torch.uint8)
