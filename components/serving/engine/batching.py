"""Answers several requests with one forward pass per token: a worker thread between HTTP and model.

In: prompts, from the event loop. Out: generated token ids per request, as they come. A batch is
gathered while its first request waits `batch_wait_s`, then runs until all its rows are done; rows
end on their own (end token, limit, client gone). Admitting new rows into a running batch is left to
a continuous engine behind the same interface.
"""

import asyncio
import logging
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from components.serving.api.wire import FinishReason

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prompt:
    """What the model is asked: token ids with one image token where the image belongs."""

    ids: list[int]
    pixels: np.ndarray | None
    """uint8 [3, S, S], or None without an image."""


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen and when to end."""

    max_new_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None


class Decoder(Protocol):
    """The model's side: yields one new token id per row and step, until it is closed.

    `alive()` is asked before each step for one flag per row; tokens of rows that are not alive are
    ignored, so a decoder may stop computing them.
    """

    def steps(
        self,
        prompts: Sequence[Prompt],
        sampling: Sequence[Sampling],
        alive: Callable[[], list[bool]],
    ) -> Iterator[list[int]]: ...


@dataclass
class _Row:
    """One request on its way through the worker."""

    prompt: Prompt
    sampling: Sampling
    loop: asyncio.AbstractEventLoop
    events: "asyncio.Queue[int | FinishReason | Exception]" = field(default_factory=asyncio.Queue)
    left: threading.Event = field(default_factory=threading.Event)
    done: bool = False
    num_tokens: int = 0

    def tell(self, event: "int | FinishReason | Exception") -> None:
        """Hand an event to the request's coroutine, unless its loop has closed."""
        try:
            self.loop.call_soon_threadsafe(self.events.put_nowait, event)
        except RuntimeError:
            self.left.set()

    def end(self, event: "FinishReason | Exception") -> None:
        self.done = True
        self.tell(event)


class Generation:
    """Token ids of one answer as an async iterator; `finish` is set when it is exhausted."""

    def __init__(self, row: _Row) -> None:
        self._row = row
        self.finish: FinishReason = "stop"

    def __aiter__(self) -> AsyncIterator[int]:
        return self._ids()

    def cancel(self) -> None:
        """Stop computing this answer: the client has left or a stop string was found."""
        self._row.left.set()

    async def _ids(self) -> AsyncIterator[int]:
        try:
            while True:
                event = await self._row.events.get()
                if isinstance(event, Exception):
                    raise event
                if isinstance(event, str):
                    self.finish = event
                    return
                yield event
        finally:
            self.cancel()


class Batcher:
    """Owns the worker thread. Call `close` to end it."""

    def __init__(
        self,
        decoder: Decoder,
        end_token_ids: Sequence[int],
        max_batch_size: int,
        batch_wait_s: float,
    ) -> None:
        self._decoder = decoder
        self._end_token_ids = frozenset(end_token_ids)
        self._max_batch_size = max_batch_size
        self._batch_wait_s = batch_wait_s
        self._waiting: queue.SimpleQueue[_Row | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="decode", daemon=True)
        self._thread.start()
        self.num_running = 0
        """Rows in the batch that runs now; 0 when idle."""

    @property
    def num_waiting(self) -> int:
        """Requests that wait for the next batch."""
        return self._waiting.qsize()

    @property
    def is_alive(self) -> bool:
        """Whether the worker thread runs."""
        return self._thread.is_alive()

    def submit(self, prompt: Prompt, sampling: Sampling) -> Generation:
        """Queue a prompt; must be called from the event loop that reads the generation."""
        row = _Row(prompt, sampling, asyncio.get_running_loop())
        self._waiting.put(row)
        return Generation(row)

    def close(self) -> None:
        """End the worker after the batch that runs now."""
        self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (first := self._waiting.get()) is not None:
            rows = [first, *self._others()]
            rows = [row for row in rows if not row.left.is_set()]
            if not rows:
                continue
            self.num_running = len(rows)
            try:
                self._run(rows)
            except Exception as error:  # a failed batch must not end the service
                log.exception("A batch of %d requests failed", len(rows))
                for row in rows:
                    if not row.done:
                        row.end(error)
            finally:
                self.num_running = 0

    def _others(self) -> list[_Row]:
        """Requests that join the first one, waiting a moment for them unless they are there."""
        rows: list[_Row] = []
        while len(rows) < self._max_batch_size - 1:
            try:
                row = self._waiting.get(timeout=self._batch_wait_s)
            except queue.Empty:
                break
            if row is None:
                self._waiting.put(None)
                break
            rows.append(row)
        return rows

    def _run(self, rows: list[_Row]) -> None:
        def alive() -> list[bool]:
            return [not (row.done or row.left.is_set()) for row in rows]

        steps = self._decoder.steps(
            [row.prompt for row in rows], [row.sampling for row in rows], alive
        )
        for tokens in steps:
            for row, token in zip(rows, tokens, strict=True):
                if not row.done and not row.left.is_set():
                    self._take(row, token)
            if not any(alive()):
                return

    def _take(self, row: _Row, token: int) -> None:
        if token in self._end_token_ids:
            row.end("stop")
            return
        row.num_tokens += 1
        row.tell(token)
        if row.num_tokens >= row.sampling.max_new_tokens:
            row.end("length")
