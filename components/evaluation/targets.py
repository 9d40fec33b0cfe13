"""What answers questions: a small protocol, and a model folder that fulfils it.

In: questions. Out: one answer each, stripped text, or None where a question could not be put (a
broken picture). Prompts and pixels come from `components.data`, the same as in training and
serving; no prompt is built here.
"""

import logging
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from components.core.errors import DataError
from components.data.conversation import render
from components.data.images import load as load_image
from components.data.records import Turn
from components.data.tokens import encode
from components.evaluation.benchmark import Question

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

# Decoded pictures kept while answering: at 336 px about 750, more than enough as questions on one
# picture come together.
_PICTURE_CACHE_BYTES = 256 * 1024 * 1024


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
    ) -> None:
        """`device`: None takes a GPU where there is one. Raises CheckpointError for a damaged
        folder.
        """
        import torch

        from components.model.checkpoint import load

        if device is None:
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self._loaded = load(checkpoint_path, dtype=dtype, device=device)
        self._batch_size = batch_size
        self._pictures: OrderedDict[str, Tensor] = OrderedDict()
        self._picture_bytes = 0

    def answer(self, questions: Sequence[Question]) -> list[str | None]:
        answers: list[str | None] = [None] * len(questions)
        prompts: dict[int, list[int]] = {}
        pixels: dict[int, Tensor | None] = {}
        for place, question in enumerate(questions):
            try:
                pixels[place] = self._picture(question)
                prompts[place] = self._prompt(question)
            except DataError as error:
                log.warning(
                    "%s %s is left without an answer: %s", question.benchmark, question.id, error
                )
        order = sorted(
            prompts,
            key=lambda place: (questions[place].max_new_tokens, len(prompts[place])),
            reverse=True,
        )
        for places in _batches(order, questions, self._batch_size):
            texts = self._generate(
                [prompts[place] for place in places],
                [pixels[place] for place in places],
                questions[places[0]].max_new_tokens,
            )
            for place, text in zip(places, texts, strict=True):
                answers[place] = text
        return answers

    def _generate(
        self, prompts: list[list[int]], pixels: list["Tensor | None"], max_new_tokens: int
    ) -> list[str]:
        from components.model.generate import generate_greedy

        new_ids = generate_greedy(self._loaded, prompts, pixels, max_new_tokens)
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

    def _picture(self, question: Question) -> "Tensor | None":
        """Return the pixels of the question's picture, decoded once while it stays in the cache."""
        import torch

        key = question.image_key
        if key is None:
            return None
        if key in self._pictures:
            self._pictures.move_to_end(key)
            return self._pictures[key]
        source = question.image_bytes if question.image_bytes is not None else Path(key)
        picture = torch.from_numpy(load_image(source, self._loaded.image_spec))
        self._pictures[key] = picture
        self._picture_bytes += picture.numel()
        while self._picture_bytes > _PICTURE_CACHE_BYTES and len(self._pictures) > 1:
            _, dropped = self._pictures.popitem(last=False)
            self._picture_bytes -= dropped.numel()
        return picture


def _batches(
    order: Sequence[int], questions: Sequence[Question], batch_size: int
) -> Iterator[list[int]]:
    """Yield places in order, cut where the batch is full or the decoding length changes."""
    batch: list[int] = []
    for place in order:
        changes = batch and questions[batch[0]].max_new_tokens != questions[place].max_new_tokens
        if changes or len(batch) == batch_size:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch
