"""Synthetic samples for `gpu_training.py`, as long as those of LLaVA-1.5 are assumed to be.

In: a stage, a model's size, a seed. Out: steps of samples with random ids and pixels. Lengths are
quantiles of a distribution, not draws from it: few samples then have its mean and its spread.
"""

import math
import random
from dataclasses import dataclass
from statistics import NormalDist, mean

import torch
from torch import Tensor

from components.data.loader.batch import Sample
from components.data.tokens import IGNORE_INDEX
from components.model.sizes.flops import flops_per_sample
from components.model.sizes.shapes import LlavaShapes
from tests.benchmarks.gpu_shapes import Size


@dataclass(frozen=True)
class StageWork:
    """What a stage trains, on what kind of samples."""

    name: str
    train: tuple[str, ...]
    samples_per_step: int
    """One GPU's share of the recipe's global batch (256; 128) on eight GPUs."""
    num_published: int
    """Samples of the published data."""
    image_share: float
    """Share of the samples that show an image."""
    text_tokens: int
    """Mean tokens of a sample's text."""
    spread: float
    """Standard deviation of the logarithm of a text's tokens."""
    supervised_share: float
    """Share of the text that is an answer."""
    aim_mfu: float
    aim_ratio: float


# Samples, images and mean texts as in workflows/stage_facts.py (DATA). The spreads are assumed:
# captions of a sentence are alike; turns of the mixture reach from a word to an essay.
STAGES = {
    "pretrain": StageWork("pretrain", ("connector",), 32, 558_128, 1.0, 34, 0.4, 1.0, 0.5, 1.8),
    "finetune": StageWork(
        "finetune",
        ("connector", "language_model"),
        16,
        665_298,
        624_610 / 665_298,
        249,
        0.8,
        0.5,
        0.45,
        1.5,
    ),
}


@dataclass(frozen=True)
class Drawn:
    """A sample with its image."""

    sample: Sample
    pixels: Tensor | None
    """uint8 [3, P, P], or None for a sample of text alone."""

    @property
    def num_tokens(self) -> int:
        """Positions of text and image."""
        return len(self.sample.input_ids)

    @property
    def num_supervised(self) -> int:
        """Positions that are predicted."""
        return sum(label != IGNORE_INDEX for label in self.sample.labels[1:])


Step = list[Drawn]


def draw_steps(work: StageWork, size: Size, num_steps: int, seed: int) -> list[Step]:
    """Return steps of samples in random order."""
    chance = random.Random(seed)
    count = num_steps * work.samples_per_step
    texts = text_lengths(work, size, count)
    chance.shuffle(texts)
    num_images = round(work.image_share * count)
    drawn = [
        _draw(work, size, text, number < num_images, number, chance)
        for number, text in enumerate(texts)
    ]
    chance.shuffle(drawn)
    return [
        drawn[start : start + work.samples_per_step]
        for start in range(0, count, work.samples_per_step)
    ]


def text_lengths(work: StageWork, size: Size, count: int) -> list[int]:
    """Return the quantiles of a log-normal distribution, cut, whose mean is the stage's."""
    room = size.max_tokens - size.shapes.patches_per_image
    wanted = min(work.text_tokens * size.text_scale, room / 2)
    places = [NormalDist().inv_cdf((number + 0.5) / count) for number in range(count)]

    def lengths(median: float) -> list[int]:
        found = (round(median * math.exp(work.spread * place)) for place in places)
        return [min(room, max(3, length)) for length in found]

    least, most = 1.0, 2.0 * wanted
    for _ in range(40):
        middle = (least + most) / 2
        least, most = (middle, most) if mean(lengths(middle)) < wanted else (least, middle)
    return lengths(least)


def step_flops(shapes: LlavaShapes, train: tuple[str, ...], step: Step) -> float:
    """Return the model FLOPs of a step's real tokens, sample by sample."""
    return sum(
        flops_per_sample(
            shapes, train, drawn.num_tokens, drawn.num_supervised, float(drawn.pixels is not None)
        )
        for drawn in step
    )


def describe(work: StageWork, size: Size, steps: list[Step]) -> str:
    """Return the assumptions and what came of them."""
    drawn = [one for step in steps for one in step]
    return (
        f"{len(drawn)} synthetic samples, {sum(one.pixels is not None for one in drawn)} with an "
        f"image of {size.shapes.patches_per_image} positions; texts log-normal (sigma "
        f"{work.spread}), cut at {size.max_tokens} positions, {work.supervised_share:.0%} answers; "
        f"on average {mean(one.num_tokens for one in drawn):.0f} positions, "
        f"{mean(one.num_supervised for one in drawn):.0f} supervised; "
        f"{work.samples_per_step} samples a step"
    )


def _draw(
    work: StageWork, size: Size, text: int, has_image: bool, number: int, chance: random.Random
) -> Drawn:
    patches, side = size.shapes.patches_per_image, size.shapes.vision.image_px
    words = [chance.randrange(3, size.image_token) for _ in range(text - 1)]
    ids = [1] + [size.image_token] * (patches if has_image else 0) + words
    num_supervised = max(1, min(len(words), round(work.supervised_share * text)))
    labels = [IGNORE_INDEX] * (len(ids) - num_supervised) + ids[len(ids) - num_supervised :]
    generator = torch.Generator().manual_seed(number)
    pixels = torch.randint(0, 256, (3, side, side), generator=generator, dtype=torch.uint8)
    sample = Sample(str(number), "synthetic", ids, labels, has_image)
    return Drawn(sample, pixels if has_image else None)
