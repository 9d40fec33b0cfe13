"""Samples of different lengths become one rectangular batch of torch tensors.

In: expanded ids and labels, and uint8 pixels of the samples that have an image. Out: a
right-padded `Batch` that can be cut into micro-batches. Pixels stay uint8; the model floor
normalises them on its device.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from components.data.order import least_padding
from components.data.tokens import IGNORE_INDEX

# Shapes: B samples, S positions of the longest, N samples with an image, P side in pixels


@dataclass(frozen=True, slots=True)
class Sample:
    """One row with its image token expanded."""

    id: str
    source: str
    input_ids: list[int]
    labels: list[int]
    has_image: bool


@dataclass(frozen=True, slots=True)
class Batch:
    """What a training step takes; `pixels` holds the images of rows with `has_image`, in order."""

    input_ids: Tensor  # int64 [B, S]
    labels: Tensor  # int64 [B, S], IGNORE_INDEX where there is no loss
    attention_mask: Tensor  # int64 [B, S], 1 on tokens, 0 on padding
    pixels: Tensor  # uint8 [N, 3, P, P]
    has_image: Tensor  # bool [B]
    sample_ids: tuple[str, ...]
    sources: tuple[str, ...]
    packs: tuple[int, ...] | None = None
    """Rows of each pack, in order, where the batch was planned as packs (see `packing.py`)."""

    def __len__(self) -> int:
        return len(self.sample_ids)

    @property
    def num_supervised(self) -> int:
        """Positions with a loss (the first of a row is BOS and never has one)."""
        return int((self.labels != IGNORE_INDEX).sum())

    @property
    def num_tokens(self) -> int:
        """Positions that are not padding."""
        return int(self.attention_mask.sum())

    def micro_batches(self, size: int) -> Iterator["Batch"]:
        """Yield the batch's packs; of one without packs, `ceil(rows / size)` slices in order, cut
        where padding is least.

        For the slices, rows must be sorted from long to short. Each is as wide as its longest row
        and has no more positions than `size` of the batch's longest rows would have.
        """
        images_before = [0, *self.has_image.cumsum(0).tolist()]
        lengths = self.attention_mask.sum(dim=1).tolist()
        if self.packs is not None:
            ends = list(accumulate(self.packs, initial=0))
            pieces = [slice(start, end) for start, end in pairwise(ends) if end > start]
        else:
            pieces = least_padding(lengths, -(-len(self) // size))
        for rows in pieces:
            width = max(lengths[rows])
            yield Batch(
                self.input_ids[rows, :width],
                self.labels[rows, :width],
                self.attention_mask[rows, :width],
                self.pixels[images_before[rows.start] : images_before[rows.stop]],
                self.has_image[rows],
                self.sample_ids[rows],
                self.sources[rows],
            )


def collate(
    samples: Sequence[Sample],
    pixels: Tensor,
    pad_token_id: int,
    packs: tuple[int, ...] | None = None,
) -> Batch:
    """Return the samples padded on the right to the longest of them."""
    width = max(len(sample.input_ids) for sample in samples)
    input_ids = torch.full((len(samples), width), pad_token_id, dtype=torch.int64)
    labels = torch.full((len(samples), width), IGNORE_INDEX, dtype=torch.int64)
    mask = torch.zeros((len(samples), width), dtype=torch.int64)
    for row, sample in enumerate(samples):
        length = len(sample.input_ids)
        input_ids[row, :length] = torch.tensor(sample.input_ids)
        labels[row, :length] = torch.tensor(sample.labels)
        mask[row, :length] = 1
    return Batch(
        input_ids,
        labels,
        mask,
        pixels,
        torch.tensor([sample.has_image for sample in samples], dtype=torch.bool),
        tuple(sample.id for sample in samples),
        tuple(sample.source for sample in samples),
        packs,
    )
