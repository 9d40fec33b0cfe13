"""A checkpoint that answers chat requests: the same sample path as training, then decoding.

In: a checkpoint folder and `ChatRequest`s. Out: answers as async streams of text. A question passes
`conversation.render`, `tokens.encode` and `images.load_image` exactly as a training sample does, so
the served prompt has the token ids that training gave the same turn. No HTTP here, no Ray.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Protocol

from components.serving.api.chat_request import Conversation, read_conversation
from components.serving.api.refusal import RequestRefused
from components.serving.api.wire import ChatRequest, FinishReason
from components.serving.config import ServingConfig
from components.serving.engine.batching import Batcher, Generation, Prompt, Sampling
from components.serving.engine.detokenise import TextStream, Tokenizer

log = logging.getLogger(__name__)


class PromptMaker(Protocol):
    """Turns a conversation into what the model reads."""

    tokenizer: Tokenizer
    max_tokens: int
    """Context of the language model: prompt, image patches and answer together."""
    stop_strings: tuple[str, ...]
    """Texts that end an answer in this model's template, besides its end token."""

    def prompt(self, conversation: Conversation) -> Prompt: ...

    def num_tokens(self, prompt: Prompt) -> int:
        """Tokens of the prompt as the language model sees it, image patches included."""
        ...


@dataclass
class Completion:
    """An answer under way: iterate `texts`; afterwards `finish` and `num_new_tokens` are final."""

    prompt_tokens: int
    generation: Generation
    text: TextStream
    finish: FinishReason = "stop"
    num_new_tokens: int = 0
    texts: AsyncIterator[str] = field(init=False)

    def __post_init__(self) -> None:
        self.texts = self._texts()

    def cancel(self) -> None:
        """Stop computing; harmless when the answer is complete."""
        self.generation.cancel()

    async def _texts(self) -> AsyncIterator[str]:
        try:
            async for token in self.generation:
                self.num_new_tokens += 1
                if piece := self.text.push(token):
                    yield piece
                if self.text.stopped:
                    break
            else:
                self.finish = self.generation.finish
            if piece := self.text.finish():
                yield piece
            if self.text.stopped:
                self.finish = "stop"
        finally:
            # Also when the client leaves in the middle: the batch stops computing this row.
            self.cancel()


class ChatEngine:
    """Answers requests; one per replica."""

    def __init__(self, maker: PromptMaker, batcher: Batcher, config: ServingConfig) -> None:
        self._maker = maker
        self._batcher = batcher
        self._config = config

    @property
    def load(self) -> dict[str, int]:
        """Requests in the running batch and waiting for the next one."""
        return {"running": self._batcher.num_running, "waiting": self._batcher.num_waiting}

    async def answer(self, request: ChatRequest) -> Completion:
        """Start answering; raises RequestRefused, before anything is computed, if it cannot."""
        # Decoding and resizing an image takes milliseconds: off the event loop.
        prompt = await asyncio.to_thread(self._prompt, request)
        prompt_tokens = self._maker.num_tokens(prompt)
        sampling = self._sampling(request, room=self._maker.max_tokens - prompt_tokens)
        text = TextStream(self._maker.tokenizer, (*request.stop_strings, *self._maker.stop_strings))
        return Completion(prompt_tokens, self._batcher.submit(prompt, sampling), text)

    def check(self) -> None:
        """Raise RuntimeError when the worker thread has died, so that the replica is replaced."""
        if not self._batcher.is_alive:
            raise RuntimeError("the decoding thread has ended")

    def close(self) -> None:
        """End the worker thread."""
        self._batcher.close()

    def _prompt(self, request: ChatRequest) -> Prompt:
        return self._maker.prompt(read_conversation(request, self._config))

    def _sampling(self, request: ChatRequest, room: int) -> Sampling:
        """Limits and temperature of one request; `room` tokens are left in the context."""
        wanted = request.answer_limit
        if wanted is not None and wanted > self._config.max_new_tokens:
            raise RequestRefused(
                f"max_tokens is {wanted}; this service answers with at most "
                f"{self._config.max_new_tokens} tokens",
                param="max_tokens",
            )
        if room < 1 or (wanted is not None and wanted > room):
            raise RequestRefused(
                f"the prompt and the answer have {self._maker.max_tokens - room} + {wanted or 1} "
                "tokens; "
                f"the model's context is {self._maker.max_tokens}. Shorten the messages or "
                "max_tokens",
                param="messages",
                code="context_length_exceeded",
            )
        temperature = request.temperature
        return Sampling(
            max_new_tokens=wanted or min(self._config.max_new_tokens, room),
            temperature=self._config.default_temperature if temperature is None else temperature,
            top_p=1.0 if request.top_p is None else request.top_p,
            seed=request.seed,
        )
