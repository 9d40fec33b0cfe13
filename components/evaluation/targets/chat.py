"""A model behind an OpenAI-compatible API as a target: a served lavaflow model, vLLM, GPT-4V-class.

In: questions. Out: one answer each by /chat/completions, greedy, several under way at a time. A
rate limit, a time-out or a server's fault is tried again with growing pauses; a question that is
refused for good stays without an answer and is told. Nothing of a key is kept or written.
"""

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from components.core.chat_api import open_client, told
from components.core.errors import ConfigError, EndpointError
from components.data.chat import write_question
from components.evaluation.benchmark import Question

log = logging.getLogger(__name__)

NO_KEY = "none"
"""What a service of one's own takes for a key."""
CONCURRENCY = 8
"""Questions under way at a time; a server batches those that are there together."""
RETRIES = 6
"""The client's own pauses grow from 0.5 s to 8 s, or are what the server asks for."""
TIMEOUT_S = 120.0
_CHUNKS_AHEAD = 2


class ChatTarget:
    """Asks one model of an API. Threads are its own; it may be made anew at any time."""

    def __init__(
        self,
        base_url: str,
        model: str | None = None,
        api_key: str = NO_KEY,
        concurrency: int = CONCURRENCY,
        timeout_s: float = TIMEOUT_S,
        retries: int = RETRIES,
    ) -> None:
        """`base_url` ends in /v1 as a rule; `model` None takes the only one that the API names.

        Raises ConfigError for a refused key or an unknown model, EndpointError when nothing
        answers.
        """
        self._key = "" if api_key == NO_KEY else api_key
        self._client = open_client(base_url, self._key, timeout_s, retries)
        self._base_url, self._concurrency = base_url, concurrency
        self._options: dict[str, Any] = {"temperature": 0.0, "limit": "max_tokens"}
        self.model = model or self._only_model()

    def answer(self, questions: Sequence[Question]) -> list[str | None]:
        ((_, answers),) = self.stream([questions])
        return answers

    def stream(
        self, chunks: Sequence[Sequence[Question]]
    ) -> Iterator[tuple[int, list[str | None]]]:
        """Yield (place of the chunk, its answers) in the order of the chunks."""
        under_way: deque[tuple[int, list[Future[str | None]]]] = deque()
        with ThreadPoolExecutor(self._concurrency, thread_name_prefix="ask") as pool:
            try:
                for place, chunk in enumerate(chunks):
                    under_way.append((place, [pool.submit(self._ask, each) for each in chunk]))
                    if len(under_way) > _CHUNKS_AHEAD:
                        yield _finished(under_way.popleft())
                while under_way:
                    yield _finished(under_way.popleft())
            finally:
                # After an error, or when nobody listens any more, nothing new is sent.
                pool.shutdown(wait=False, cancel_futures=True)

    def _only_model(self) -> str:
        import openai

        try:
            # An address may be mistyped: told in a second, not in twenty.
            first = self._client.with_options(max_retries=1)
            names = [model.id for model in first.models.list()]
        except openai.APIConnectionError as error:
            raise self._unreachable(error) from None
        except openai.OpenAIError as error:
            raise ConfigError(
                f"{self._base_url}: its models cannot be listed ({told(error, self._key)})"
            ) from None
        if len(names) == 1:
            return names[0]
        raise ConfigError(
            f"{self._base_url} has {len(names)} models ({', '.join(sorted(names)[:8])}); name one"
        )

    def _unreachable(self, error: Exception) -> EndpointError:
        return EndpointError(
            f"{self._base_url} does not answer ({told(error, self._key)}); what was answered is "
            "kept, so the same command goes on once it does"
        )

    def _ask(self, question: Question) -> str | None:
        import openai

        try:
            return self._reply(question)
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise ConfigError(
                f"{self._base_url}: the key is refused ({told(error, self._key)}); check it"
            ) from None
        except openai.NotFoundError as error:
            raise ConfigError(
                f"{self._base_url}: no model {self.model!r} there ({told(error, self._key)})"
            ) from None
        except openai.APIConnectionError as error:
            raise self._unreachable(error) from None
        except (openai.APIStatusError, OSError) as error:
            log.warning(
                "%s %s is left without an answer: %s",
                question.benchmark,
                question.id,
                told(error, self._key),
            )
            return None

    def _reply(self, question: Question) -> str | None:
        """Return the answer, with the options that this model takes: some refuse our usual ones."""
        import openai

        while True:
            options = dict(self._options)
            limit = str(options.pop("limit"))
            request: dict[str, Any] = {**options, limit: question.max_new_tokens}
            try:
                reply = self._client.chat.completions.create(
                    model=self.model,
                    messages=[{"role": "user", "content": _content(question)}],
                    **request,
                )
            except openai.BadRequestError as error:
                if error.param not in ("temperature", "max_tokens") or error.param not in request:
                    raise
                self._give_way(error.param)
                continue
            return (reply.choices[0].message.content or "").strip() if reply.choices else None

    def _give_way(self, refused: str) -> None:
        """Change an option that was refused, for this question and those behind it."""
        if refused != "temperature":
            self._options["limit"] = "max_completion_tokens"
        elif self._options.pop("temperature", None) is not None:
            # Such a model draws its answers, so they may differ from run to run.
            log.warning("%s takes no temperature: its answers are not greedy", self.model)


def _finished(chunk: tuple[int, list[Future[str | None]]]) -> tuple[int, list[str | None]]:
    place, answers = chunk
    return place, [answer.result() for answer in answers]


def _content(question: Question) -> Any:
    """Return the image and the words, as the API takes them."""
    if question.image_key is None:
        return write_question(question.prompt, None)
    data = question.image_bytes
    if data is None:
        assert question.image_path is not None
        data = Path(question.image_path).read_bytes()
    return write_question(question.prompt, data)
