"""Batches of the text corpus with scenes written in, made ahead by one thread.

In: a seed, a tokenizer. Out: padded ids and labels, and for each sample the words of its scene's
patches, partly spoiled. The spoiling (wrong words, blends of two words, noise, scale) teaches the
language model to read scenes that come through an imperfect connector.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from queue import Queue
from threading import Thread

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from components.data.pocket.scenes.scene import COLUMN_NAMES, PATCHES_PER_CELL, ROW_NAMES, Scene
from components.data.tokens import IGNORE_INDEX, Encoded, encode_all, expand_image_tokens
from workflows.tiny_base.corpus import Example, draw_sample, segments_of
from workflows.tiny_base.scenes import GROUND, NUM_PATCHES, SIDE, WHAT, patch_targets

POOL_SAMPLES = 384
"""Samples sorted by length at a time, so that batches carry little padding."""
EARLY_UNTIL = 0.12
"""Progress of the training up to which the corpus is the early one and nothing is spoiled."""
FULL_FROM = 0.8
"""Progress from which the spoiling has its full strength."""
SPOILED_SHARE = 0.3
"""Share of samples with any one kind of spoiling; each kind is drawn on its own."""
MAX_WRONG_WORDS = 0.06
MAX_NOISE = 0.4
MAX_LOG_SCALE = 0.4

NUM_ASPECTS = 4
"""What is said of a patch: what stands there, on which ground, in which row, in which column."""
MIN_ASPECT = 0.5
"""Least weight of an aspect where the weights are spoiled."""

# Shapes: B samples, S positions, P patches, A aspects


@dataclass(frozen=True)
class TextBatch:
    """Image positions of `input_ids` hold the image token; the scene's words stand beside it."""

    input_ids: Tensor
    labels: Tensor
    words: Tensor
    """Words of each patch [B, P, A]; zeros for samples without a scene."""
    aspect_weights: Tensor
    """Weight of each aspect [B, A]."""
    noise: Tensor
    scale: Tensor
    families: list[str]


class BatchMaker:
    """Turns samples into batches with one tokenizer."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, image_token_id: int, words: dict[str, int]
    ) -> None:
        self.tokenizer = tokenizer
        self.image_token_id = image_token_id
        self.words = words

    def encode(self, samples: Sequence[Example]) -> list[tuple[Example, Encoded]]:
        """Return the samples with their ids, image tokens repeated once per patch."""
        encoded = encode_all(
            [segments_of(sample) for sample in samples], self.tokenizer, self.image_token_id
        )
        result = []
        for sample, one in zip(samples, encoded, strict=True):
            assert isinstance(one, Encoded), one
            ids, labels = expand_image_tokens(
                one.input_ids, one.labels, NUM_PATCHES, self.image_token_id
            )
            result.append((sample, Encoded(ids, labels)))
        return result

    def batch(
        self,
        rows: Sequence[tuple[Example, Encoded]],
        rng: random.Random | None = None,
        progress: float = 1.0,
    ) -> TextBatch:
        """Pad the rows to one length.

        With a generator the scenes are spoiled as strongly as `progress` says; without, not at all.
        """
        strength = min(1.0, max(0.0, (progress - EARLY_UNTIL) / (FULL_FROM - EARLY_UNTIL)))
        longest = max(len(encoded.input_ids) for _, encoded in rows)
        ids = np.zeros((len(rows), longest), dtype=np.int64)
        labels = np.full((len(rows), longest), IGNORE_INDEX, dtype=np.int64)
        words = np.zeros((len(rows), NUM_PATCHES, NUM_ASPECTS), dtype=np.int64)
        for index, (sample, encoded) in enumerate(rows):
            ids[index, : len(encoded.input_ids)] = encoded.input_ids
            labels[index, : len(encoded.labels)] = encoded.labels
            if sample.scene:
                words[index] = self._words_of(sample.scene, rng, strength)
        size = len(rows)
        return TextBatch(
            torch.from_numpy(ids),
            torch.from_numpy(labels),
            torch.from_numpy(words),
            torch.stack(
                [
                    _sometimes(rng, size, 1.0, lambda r: r.uniform(1 - strength * MIN_ASPECT, 1))
                    for _ in range(NUM_ASPECTS)
                ],
                dim=1,
            ),
            _sometimes(rng, size, 0.0, lambda r: strength * r.uniform(0.0, MAX_NOISE)),
            _sometimes(
                rng,
                size,
                1.0,
                lambda r: float(np.exp(strength * r.uniform(-MAX_LOG_SCALE, MAX_LOG_SCALE))),
            ),
            [sample.family for sample, _ in rows],
        )

    def _words_of(self, scene: Scene, rng: random.Random | None, strength: float) -> np.ndarray:
        words = np.array([[self.words[word] for word in patch] for patch in patch_aspects(scene)])
        if rng is not None and rng.random() < SPOILED_SHARE:
            share, choices = strength * rng.uniform(0, MAX_WRONG_WORDS), list(self.words.values())
            for place in np.ndindex(words.shape):
                if rng.random() < share:
                    words[place] = rng.choice(choices)
        return words


def patch_aspects(scene: Scene) -> list[tuple[str, str, str, str]]:
    """Return for every patch in reading order what stands there, its ground, row and column."""
    what, ground = patch_targets(scene)
    aspects = []
    for index in range(NUM_PATCHES):
        row, column = index // SIDE // PATCHES_PER_CELL, index % SIDE // PATCHES_PER_CELL
        name = WHAT[what[index]] if what[index] else scene.background
        aspects.append((name, GROUND[ground[index]], ROW_NAMES[row], COLUMN_NAMES[column]))
    return aspects


def text_batches(
    maker: BatchMaker, seed: int, tokens_per_batch: int, num_batches: int
) -> Iterator[TextBatch]:
    """Yield batches of about `tokens_per_batch` positions that depend on the seed alone."""
    queue: Queue[TextBatch] = Queue(maxsize=8)

    def fill() -> None:
        rng = random.Random(seed)
        made = 0
        while made < num_batches:
            progress = made / num_batches
            early = progress < EARLY_UNTIL
            rows = maker.encode([draw_sample(rng, early=early) for _ in range(POOL_SAMPLES)])
            groups = _group(rows, tokens_per_batch)
            rng.shuffle(groups)
            for group in groups[: num_batches - made]:
                queue.put(maker.batch(group, rng, progress))
            made += len(groups)

    Thread(target=fill, daemon=True).start()
    for _ in range(num_batches):
        yield queue.get()


def _group(
    rows: list[tuple[Example, Encoded]], tokens_per_batch: int
) -> list[list[tuple[Example, Encoded]]]:
    """Cut the rows, sorted by length, into groups whose padded size fits the budget."""
    groups: list[list[tuple[Example, Encoded]]] = []
    group: list[tuple[Example, Encoded]] = []
    for row in sorted(rows, key=lambda pair: -len(pair[1].input_ids)):
        longest = len((group or [row])[0][1].input_ids)
        if group and longest * (len(group) + 1) > tokens_per_batch:
            groups.append(group)
            group = []
        group.append(row)
    return [*groups, group]


def _sometimes(rng: random.Random | None, size: int, usual: float, draw: "object") -> Tensor:
    """A value per sample: the usual one, or for some a drawn one."""
    values = [
        draw(rng) if rng is not None and rng.random() < SPOILED_SHARE else usual  # type: ignore[operator]
        for _ in range(size)
    ]
    return torch.tensor(values, dtype=torch.float32)
