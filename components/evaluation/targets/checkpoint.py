"""What answers questions: a small protocol, and a model folder that fulfils it.

In: questions. Out: one answer each, stripped text, or None where a question could not be put (a
broken image). Prompts and pixels come from `components.data`, the same as in training and
serving; no prompt is built here.
"""

import ctypes
import logging
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from components.core.errors import DataError
from components.data.conversation import render
from components.data.images import load_image
from components.data.records import Turn
from components.data.tokens import encode
from components.evaluation.benchmark import Question
from components.evaluation.targets.order import batches

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

# Images kept as the language model sees them: of LLaVA-1.5 7B in half precision about 50, more
# than enough as questions on one image come together.
IMAGE_CACHE_BYTES = 256 * 1024 * 1024
# Numbers of glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_MEBIBYTE = 1024 * 1024
# The largest that glibc takes; blocks above it always come from the system.
_LARGEST_MMAP_THRESHOLD = 32 * _MEBIBYTE


class Target(Protocol):
    """Anything that answers questions."""

    def answer(self, questions: Sequence[Question]) -> list[str | None]:
        """Return an answer per question, in order; None where it could not be put."""


@runtime_checkable
class StreamingTarget(Protocol):
    """A target that works on several chunks at once."""

    def answer(self, questions: Sequence[Question]) -> list[str | None]: ...

    def stream(
        self, chunks: Sequence[Sequence[Question]]
    ) -> Iterator[tuple[int, list[str | None]]]:
        """Yield (place of the chunk, its answers) as they come, in any order."""


class CheckpointTarget:
    """A model folder, loaded once, answering greedily in length-sorted batches."""

    def __init__(
        self,
        checkpoint_path: str | Path,
        dtype: str = "float32",
        device: str | None = None,
        batch_size: int = 32,
        image_cache_bytes: int = IMAGE_CACHE_BYTES,
    ) -> None:
        """`device`: None takes a GPU where there is one; with no room for images the last one is
        kept. Raises CheckpointError for a damaged folder.
        """
        import torch

        from components.model.checkpoint import load_checkpoint

        if device is None:
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self._loaded = load_checkpoint(checkpoint_path, dtype=dtype, device=device)
        self._batch_size = batch_size
        self._kept: OrderedDict[str, Tensor] = OrderedDict()
        self._kept_bytes = 0
        self._kept_limit = image_cache_bytes

    def answer(self, questions: Sequence[Question]) -> list[str | None]:
        """Return an answer per question, in order; None where its image cannot be read."""
        answers: list[str | None] = [None] * len(questions)
        for places in batches(questions, self._batch_size):
            embedded = self._embed([questions[place] for place in places])
            prompts: dict[int, list[int]] = {}
            images: dict[int, Tensor | None] = {}
            for place in places:
                question = questions[place]
                try:
                    prompts[place] = self._prompt(question)
                    images[place] = _usable(embedded, question)
                except DataError as error:
                    prompts.pop(place, None)
                    log.warning(
                        "%s %s is left without an answer: %s",
                        question.benchmark,
                        question.id,
                        error,
                    )
            if prompts:
                length = questions[places[0]].max_new_tokens
                texts = self._generate(list(prompts.values()), list(images.values()), length)
                for place, text in zip(prompts, texts, strict=True):
                    answers[place] = text
        return answers

    def _generate(
        self, prompts: list[list[int]], images: list["Tensor | None"], max_new_tokens: int
    ) -> list[str]:
        from components.model.generation.greedy import generate_greedy

        new_ids = generate_greedy(self._loaded, prompts, images, max_new_tokens)
        texts = self._loaded.tokenizer.batch_decode(new_ids, skip_special_tokens=True)
        return [text.strip() for text in texts]

    def _prompt(self, question: Question) -> list[int]:
        segments = render(
            [Turn("human", question.prompt)],
            template=self._loaded.template,
            has_image=question.image_key is not None,
            generation=True,
        )
        return encode(segments, self._loaded.tokenizer, self._loaded.image_token_id).input_ids

    def _embed(self, questions: Sequence[Question]) -> Mapping[str, "Tensor | DataError"]:
        """Return by key what the language model sees of each image, or why it cannot be read.

        An image is decoded, and goes through the tower, once while it stays in the cache.
        """
        import torch

        from components.model.generation.greedy import embed_distinct

        images: dict[str, Tensor | DataError] = {}
        pixels: dict[str, Tensor] = {}
        for question in questions:
            key = question.image_key
            if key is None or key in images or key in pixels:
                continue
            if key in self._kept:
                self._kept.move_to_end(key)
                images[key] = self._kept[key]
                continue
            source = question.image_bytes if question.image_bytes is not None else Path(key)
            try:
                pixels[key] = torch.from_numpy(load_image(source, self._loaded.image_spec))
            except DataError as error:
                images[key] = error
        embedded = embed_distinct(self._loaded, list(pixels.values()))
        for key, image in zip(pixels, embedded, strict=True):
            assert image is not None
            images[key] = image
            self._keep(key, image)
        return images

    def _keep(self, key: str, image: "Tensor") -> None:
        # A copy: a view would hold all images of its batch.
        self._kept[key] = image.clone()
        self._kept_bytes += image.nbytes
        while self._kept_bytes > self._kept_limit and len(self._kept) > 1:
            _, dropped = self._kept.popitem(last=False)
            self._kept_bytes -= dropped.nbytes


def keep_freed_memory(kept_bytes: int = 1024 * _MEBIBYTE) -> bool:
    """Keep so much freed memory for the next block; returns whether the allocator took it.

    For those that answer on a CPU. As it is, glibc gives megabytes back to the system after each
    layer and takes them anew for the next, zeroed page by page: of the processor time of batches of
    64 questions on the tiny model this was a seventh. Elsewhere than on glibc nothing changes.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    settings = (
        (_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD),
        (_TRIM_THRESHOLD, kept_bytes),
        (_TOP_PAD, 64 * _MEBIBYTE),
    )
    taken = [mallopt(name, value) == 1 for name, value in settings]
    return all(taken)


def _usable(embedded: Mapping[str, "Tensor | DataError"], question: Question) -> "Tensor | None":
    """Return the question's image, None where it has none; raises what was wrong with it."""
    if question.image_key is None:
        return None
    image = embedded[question.image_key]
    if isinstance(image, DataError):
        raise image
    return image
