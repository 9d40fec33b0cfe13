"""Prepared data becomes batches, in an order that depends on nothing but data, seed and step.

In: the folder of `prepare`, this rank and the number of ranks. Out: right-padded torch batches
with uint8 pixels, made by a background thread. Global batch k of epoch e is a pure function of
(content digest, seed, e, k): every world size sees the same global batches, and any step can be
the first, so a resumed run equals an uninterrupted one.
"""

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from components.core.errors import ConfigError, DataError
from components.data.images import load_image
from components.data.loader.batch import Batch as Batch
from components.data.loader.batch import Sample, collate
from components.data.loader.image_cache import ImageCache, encoded_image
from components.data.loader.packing import plan_packs
from components.data.loader.prefetch import prefetched
from components.data.order import balanced_split, permutation
from components.data.raw.folder import open_raw
from components.data.shards import ROWS, ImageReader, RowReader, read_prepared
from components.data.tokens import expand_image_tokens

log = logging.getLogger(__name__)

DEFAULT_CACHE_BYTES = 1 << 30
"""Decoded pixels are kept when the whole set takes no more than this (84 px: 50,000 images)."""


class Loader:
    """The batches of one rank.

    The last, incomplete global batch of an epoch is dropped, so that every optimizer step averages
    over equally many samples; a set smaller than one global batch is taken whole, once per epoch.
    Within a global batch the samples are dealt out so that ranks carry equal numbers and near-equal
    lengths; where the ranks do not divide the batch, the first ones carry one more.
    """

    def __init__(
        self,
        prepared_path: Path | str,
        global_batch: int,
        pad_token_id: int,
        rank: int = 0,
        world_size: int = 1,
        seed: int = 0,
        epochs: float = 1,
        image_root: Path | str | None = None,
        cache_bytes: int = DEFAULT_CACHE_BYTES,
        num_threads: int = 1,
        pack_tokens: int | None = None,
        image_cache: ImageCache | None = None,
        kind: str = ROWS,
        drop_last: bool = True,
    ) -> None:
        """With `pack_tokens` a rank's share comes as packs of at most so many tokens, every rank
        having equally many; without, every rank has equally many samples.

        Images that were not copied are read from the raw folder that the data remember, or from
        `image_root`; remote ones are kept in `image_cache`. `kind` VALIDATION takes the held-out
        rows. Without `drop_last` the incomplete last batch of an epoch is taken too, where each
        rank has a row of it.
        """
        if not 0 <= rank < world_size or global_batch < world_size or epochs <= 0:
            raise ConfigError(
                f"rank {rank} of {world_size}, global batch {global_batch}, {epochs} epochs: "
                "expected 0 <= rank < world size <= global batch, and epochs above 0"
            )
        self.spec = read_prepared(prepared_path)
        self._rows = RowReader(Path(prepared_path), kind)
        self._images = ImageReader(Path(prepared_path))
        self._image_root = open_raw(image_root or self.spec.raw_uri)
        self._image_cache = image_cache
        self._global_batch, self._rank, self._world_size = global_batch, rank, world_size
        self._seed, self._pad_token_id, self._num_threads = seed, pad_token_id, num_threads
        self._pack_tokens = pack_tokens
        whole, rest = divmod(len(self._rows), global_batch)
        self.steps_per_epoch = max(1, whole + (not drop_last and rest >= world_size))
        self.num_steps = max(1, round(self.steps_per_epoch * epochs))
        if len(self._rows) < max(global_batch, world_size):
            if drop_last:
                log.warning(
                    "Only %d rows: each epoch is one batch of them all, not %d",
                    len(self._rows),
                    global_batch,
                )
            if len(self._rows) < world_size:
                raise DataError(
                    f"{len(self._rows)} rows cannot feed {world_size} ranks; use fewer workers"
                )
        self._epoch_order = lru_cache(maxsize=2)(self._permutation)
        self._cache, self._cached = self._new_cache(cache_bytes)

    def __len__(self) -> int:
        return self.num_steps

    def batches(self, start_step: int = 0, prefetch: int = 2) -> Iterator[Batch]:
        """Yield this rank's batches from a step on, made up to `prefetch` ahead in a thread."""
        if not 0 <= start_step <= self.num_steps:
            raise ConfigError(
                f"start step {start_step} of {self.num_steps}: beyond the end of training"
            )
        return prefetched(self._make_batches(start_step), prefetch)

    def global_rows(self, step: int) -> list[int]:
        """Return the row numbers of the global batch at a step, the same for every rank."""
        epoch, position = divmod(step, self.steps_per_epoch)
        order = self._epoch_order(epoch)
        return [int(row) for row in order[position * self._global_batch :][: self._global_batch]]

    def rank_packs(self, step: int) -> list[list[int]]:
        """Return the row numbers of this rank's packs at a step; without packs all are in one."""
        rows = self.global_rows(step)
        lengths = [int(self._rows.num_tokens[row]) for row in rows]
        if self._pack_tokens is None:
            packs = [balanced_split(lengths, self._world_size)[self._rank]]
        else:
            packs = plan_packs(lengths, self._pack_tokens, self._world_size)[self._rank]
        return [[rows[place] for place in pack] for pack in packs]

    def batch(self, step: int) -> Batch:
        """Return this rank's batch of a step, at once."""
        return self._collate(self.rank_packs(step), None)

    def _make_batches(self, start_step: int) -> Iterator[Batch]:
        with ThreadPoolExecutor(self._num_threads) as pool:
            for step in range(start_step, self.num_steps):
                yield self._collate(self.rank_packs(step), pool if self._num_threads > 1 else None)

    def _permutation(self, epoch: int) -> NDArray[np.int64]:
        return permutation(len(self._rows), self.spec.content_digest, self._seed, epoch)

    def _collate(self, packs: Sequence[Sequence[int]], pool: ThreadPoolExecutor | None) -> Batch:
        rows = [self._rows.row(number) for pack in packs for number in pack]
        wanted = [row.image_index for row in rows if row.image_index >= 0]
        pixels = list(map(self._pixels, wanted) if pool is None else pool.map(self._pixels, wanted))
        samples = []
        for row in rows:
            ids, labels = expand_image_tokens(
                row.input_ids.tolist(),
                row.labels.tolist(),
                self.spec.patches_per_image,
                self.spec.image_token_id,
            )
            samples.append(Sample(row.id, row.source, ids, labels, row.image_index >= 0))
        size = self.spec.image.size_px
        stacked = np.stack(pixels) if pixels else np.zeros((0, 3, size, size), dtype=np.uint8)
        sizes = None if self._pack_tokens is None else tuple(map(len, packs))
        return collate(samples, torch.from_numpy(stacked), self._pad_token_id, sizes)

    def _pixels(self, index: int) -> NDArray[np.uint8]:
        if self._cache is not None and self._cached[index]:
            return self._cache[index]
        image = self._images.image(index)
        encoded = encoded_image(image, self._image_root, self._image_cache)
        try:
            pixels = load_image(encoded, self.spec.image)
        except DataError as error:
            raise DataError(f"{self._image_root}: image {image.path}: {error}") from None
        if self._cache is not None:
            self._cache[index] = pixels
            self._cached[index] = True
        return pixels

    def _new_cache(self, cache_bytes: int) -> tuple[NDArray[np.uint8] | None, NDArray[np.bool_]]:
        """Reserve room for all decoded images where they fit; pages are taken as they fill."""
        count, size = len(self._images), self.spec.image.size_px
        fits = 0 < count * 3 * size * size <= cache_bytes
        cache = np.empty((count, 3, size, size), dtype=np.uint8) if fits else None
        return cache, np.zeros(count, dtype=np.bool_)
