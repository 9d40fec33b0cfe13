"""A language model as judge: requests in, replies out, each asked once and kept by its content.

In: the answers to a judged benchmark, the address of an OpenAI-compatible endpoint, its key from
the caller. Out: a `Judgement` per answer and run, with the replies as they came. What is asked and
how a reply is read is the benchmark's part. Replies are kept (kept_replies.py), so that a killed
run, or an equal answer in another pass, asks nothing twice.
Rate limits, time-outs and failures of the endpoint are tried again with growing waits; what fails
then is a judgement without reply, never a number. The key is in no record, log or pickle.
"""

import dataclasses
import logging
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any, NoReturn

import openai
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_after_attempt,
    stop_when_event_set,
    wait_exponential,
)

from components.core.chat_api import open_client, told
from components.core.errors import ConfigError, EndpointError
from components.evaluation.benchmark import JudgedBenchmark, Judgement, JudgeRequest, Question
from components.evaluation.config import JudgeConfig
from components.evaluation.judge.kept_replies import KeptReplies, Reply

log = logging.getLogger(__name__)

ApiKey = str | Callable[[], str] | None
Answers = Mapping[str, str | None]
Judgements = dict[str, tuple[Judgement, ...]]

_LONGEST_WAIT_S = 60.0
_LONGEST_RETRY_AFTER_S = 300.0
# So many failures in a row, each after its repetitions, and the judge counts as gone.
_GONE_AFTER = 20


@dataclass(frozen=True)
class _Task:
    """What one judgement asks in turn, and with which wording."""

    requests: tuple[JudgeRequest, ...]
    prompt: str


class _Passing(Exception):
    """A failure that may pass by itself."""

    def __init__(self, reason: str, retry_after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class _Refused(Exception):
    """A failure of this one request that asking again does not mend."""


class Judge:
    """One judge behind one endpoint, asked by several threads, with its kept replies."""

    def __init__(
        self, config: JudgeConfig, api_key: ApiKey = None, cache_uri: str | None = None
    ) -> None:
        """`api_key`: the key or a function that gives it; None for an endpoint that wants none.
        `cache_uri`: where replies are kept unless the settings name a place; None keeps nothing.
        """
        self.config = config
        cache = config.cache_uri or cache_uri
        self._kept = KeptReplies(cache) if cache else None
        self._key = (api_key() if callable(api_key) else api_key) or ""
        self._client = open_client(config.base_url, self._key, config.timeout_s, retries=0)
        self._limit = "max_tokens"
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._num_silent = 0
        """Failures of the endpoint since its last reply."""

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Judge holds a key and is not pickled; make it where it is used")

    def judge(
        self,
        benchmark: JudgedBenchmark,
        passes: Mapping[str, Sequence[Question]],
        answers: Mapping[str, Answers],
    ) -> dict[str, Judgements]:
        """Return the judgements by pass and question id; none for what needs no judge.

        Equal requests are asked once, whatever pass they come from. Raises EndpointError when the
        endpoint stays silent, ConfigError when it refuses key, model or every request, or when not
        one reply can be read; replies so far are kept.
        """
        tasks: dict[tuple[str, str], list[_Task]] = {}
        for name, questions in passes.items():
            for question in questions:
                requests = benchmark.requests(question, answers[name].get(question.id))
                if requests:
                    version = benchmark.prompt_version(question)
                    tasks[name, question.id] = [
                        _Task(tuple(dataclasses.replace(r, run=run) for r in requests), version)
                        for run in range(self.config.num_runs)
                    ]
        done = self._work(
            benchmark, dict.fromkeys(task for each in tasks.values() for task in each)
        )
        self._check_graded(benchmark, list(done.values()))
        result: dict[str, Judgements] = {name: {} for name in passes}
        for (name, key), each in tasks.items():
            result[name][key] = tuple(done[task] for task in each)
        return result

    def _work(
        self, benchmark: JudgedBenchmark, tasks: Mapping[_Task, None]
    ) -> dict[_Task, Judgement]:
        done: dict[_Task, Judgement] = {}
        self._stop.clear()
        log.info("%s: %d judgements by %s", benchmark.title, len(tasks), self.config.model)
        with ThreadPoolExecutor(self.config.max_concurrency, thread_name_prefix="judge") as pool:
            futures = {pool.submit(self._judgement, benchmark, task): task for task in tasks}
            try:
                for future in as_completed(futures):
                    done[futures[future]] = future.result()
                    if len(done) % max(1, len(tasks) // 10) == 0:
                        log.info("%s: %d of %d judged", benchmark.title, len(done), len(tasks))
            except BaseException:
                self._stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return done

    def _judgement(self, benchmark: JudgedBenchmark, task: _Task) -> Judgement:
        replies: list[str] = []
        error = answered_by = ""
        try:
            if self._stop.is_set():
                raise _Refused("stopped")
            for request in task.requests:
                reply = self._reply(request, task.prompt)
                replies.append(reply.text)
                answered_by = reply.answered_by
                if benchmark.readable(reply.text):
                    break
        except (_Passing, _Refused) as failure:
            error = str(failure)
            log.warning("%s: a judgement failed: %s", benchmark.title, error)
        except (ConfigError, EndpointError):
            self._stop.set()  # before this thread takes the next task
            raise
        same = answered_by == self.config.model
        return Judgement(
            self.config.model, task.prompt, tuple(replies), error, "" if same else answered_by
        )

    def _reply(self, request: JudgeRequest, prompt: str) -> Reply:
        kept = self._kept.read(self.config.model, prompt, request) if self._kept else None
        if kept is not None:
            return kept
        # A judge that has gone silent is not waited for again and again.
        patient = self._num_silent < self.config.max_concurrency
        retrying = Retrying(
            retry=retry_if_exception_type(_Passing),
            stop=stop_after_attempt(1 + self.config.max_retries if patient else 1)
            | stop_when_event_set(self._stop),
            wait=self._wait_s,
            sleep=sleep_using_event(self._stop),
            reraise=True,
        )
        try:
            reply = retrying(self._ask, request)
        except _Passing as failure:
            self._count_silence(failure)
            raise
        except _Refused:
            self._num_silent = 0
            raise
        self._num_silent = 0
        if self._kept:
            self._kept.add(self.config.model, prompt, request, reply)
        return reply

    def _ask(self, request: JudgeRequest) -> Reply:
        messages: list[ChatCompletionMessageParam] = []
        if request.system:
            messages.append({"role": "system", "content": request.system})
        messages.append({"role": "user", "content": request.prompt})
        try:
            limit: dict[str, Any] = {self._limit: request.max_tokens}
            found: object = self._client.chat.completions.create(
                model=self.config.model,
                messages=messages,
                temperature=request.temperature,
                **limit,
            )
        except openai.APIStatusError as error:
            if error.param == "max_tokens" == self._limit:
                self._limit = "max_completion_tokens"  # newer models name it so
                return self._ask(request)
            raise self._failure(error) from None
        except (openai.APIError, ValueError) as error:
            raise _Passing(told(error, self._key)) from None
        if not isinstance(found, ChatCompletion) or not found.choices:
            raise _Passing(f"{self.config.base_url} does not reply in the form of OpenAI's API")
        # No text (a refusal) is a reply that holds no grade, as in the original.
        return Reply(found.choices[0].message.content or "", found.model or "")

    def _failure(self, error: openai.APIStatusError) -> Exception:
        """Return what a refusal means: for the run, for this request, or for the moment."""
        reason, status = f"{error.status_code}: {told(error, self._key)}", error.status_code
        if status in (401, 403, 404) or error.code == "insufficient_quota":
            return ConfigError(
                f"{self.config.base_url} refuses the judge {self.config.model!r} ({reason}); "
                "check its address, its name and the key"
            )
        if status in (408, 409, 429) or status >= 500:
            return _Passing(reason, _retry_after_s(error.response.headers.get("retry-after")))
        return _Refused(reason)

    def _count_silence(self, failure: _Passing) -> None:
        with self._lock:
            self._num_silent += 1
            gone = self._num_silent >= _GONE_AFTER
        if gone:
            raise EndpointError(
                f"{self.config.base_url} has failed {_GONE_AFTER} times in a row ({failure}); what "
                "it judged is kept, run the same again when it answers"
            ) from None

    def _wait_s(self, state: RetryCallState) -> float:
        wait = wait_exponential(self.config.first_wait_s, max=_LONGEST_WAIT_S)(state)
        wait *= random.uniform(1.0, 1.25)  # so that the threads do not come back together
        failure = state.outcome.exception() if state.outcome else None
        asked = failure.retry_after_s if isinstance(failure, _Passing) else 0.0
        return max(wait, asked)

    def _check_graded(self, benchmark: JudgedBenchmark, judgements: Sequence[Judgement]) -> None:
        """Raise when there were judgements and not one of them holds a grade."""
        graded = (not each.error and benchmark.readable(each.replies[-1]) for each in judgements)
        if not judgements or any(graded):
            return
        errors = [each.error for each in judgements if each.error]
        if errors:
            # After a refusal the endpoint is there, so that waiting does not help.
            kind = EndpointError if self._num_silent else ConfigError
            raise kind(
                f"{benchmark.title}: not one of {len(judgements)} judgements by "
                f"{self.config.model!r} could be had ({errors[0]}); see that it answers such "
                "requests and run the same again"
            )
        raise ConfigError(
            f"{benchmark.title}: {self.config.model!r} gave no grade in {len(judgements)} "
            f"judgements, such as {judgements[0].replies[-1][:80]!r}; choose a judge that keeps to "
            "the asked form"
        )


def _retry_after_s(header: str | None) -> float:
    """Return the seconds of a Retry-After header; 0 without one, or where it is a date."""
    try:
        return min(max(float(header or 0), 0.0), _LONGEST_RETRY_AFTER_S)
    except ValueError:
        return 0.0
