"""A model behind an API is asked like any other; its troubles are told apart."""

import itertools
import logging
import threading
from pathlib import Path
from typing import Any

import pytest

from components.core.chat_api import told
from components.core.errors import ConfigError, EndpointError
from components.evaluation.benchmark import Question
from components.evaluation.targets.chat import ChatTarget
from tests.evaluation.tiny_api import failed, parts, said, tiny_api

PNG = b"\x89PNG and the rest"


def question(number: int, **changes: Any) -> Question:
    values = {"image_bytes": PNG, "max_new_tokens": 7, **changes}
    return Question(f"q{number}", "pope", f"What is {number}?", "yes", **values)


def echo(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    words, image = parts(body)
    return said(f" {words} {'with' if image else 'without'} ")


def test_words_and_image_arrive_and_answers_keep_their_places() -> None:
    with tiny_api(echo) as (url, asked):
        target = ChatTarget(url)
        found = target.answer([question(1), question(2, image_bytes=None)])
    assert target.model == "tiny"
    assert found == ["What is 1? with", "What is 2? without"]
    (first,) = [body for body in asked if parts(body)[1]]
    assert parts(first)[1] == PNG
    assert first["messages"][0]["content"][0]["image_url"]["url"].startswith("data:image/png;")
    assert (first["temperature"], first["max_tokens"]) == (0.0, 7)


def test_several_questions_are_under_way_and_chunks_come_in_order() -> None:
    """With four at a time, four that wait for each other all arrive."""
    together = threading.Barrier(4, timeout=20)

    def wait(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        together.wait()
        return echo(body)

    chunks = [[question(2 * place + at) for at in range(2)] for place in range(6)]
    with tiny_api(wait) as (url, _):
        found = list(ChatTarget(url, concurrency=4).stream(chunks))
    assert [place for place, _ in found] == list(range(6))
    words = list(itertools.chain.from_iterable(answers for _, answers in found))
    assert words == [f"What is {number}? with" for number in range(12)]


def test_a_limit_of_the_rate_is_waited_for() -> None:
    tries = itertools.count()

    def limited(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        return failed(429, "slow down") if next(tries) < 3 else echo(body)

    with tiny_api(limited) as (url, _):
        assert ChatTarget(url).answer([question(1)]) == ["What is 1? with"]
    assert next(tries) == 4


def test_a_question_that_is_refused_stays_without_an_answer(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    def picky(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        return failed(400, "too long") if "What is 2" in parts(body)[0] else echo(body)

    gone = {"image_bytes": None, "image_path": str(tmp_path / "gone.png")}
    with tiny_api(picky) as (url, _), caplog.at_level(logging.WARNING):
        found = ChatTarget(url).answer([question(1), question(2), question(3, **gone)])
    assert found == ["What is 1? with", None, None]
    assert "pope q2 is left without an answer: too long" in caplog.text
    assert "gone.png" in caplog.text


def test_options_that_a_model_refuses_are_changed(caplog: pytest.LogCaptureFixture) -> None:
    """As models that think first do: another name for the limit, no temperature."""

    def thinking(body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        for name in ("max_tokens", "temperature"):
            if name in body:
                return failed(400, f"{name} is not supported", param=name)
        return said(str(body["max_completion_tokens"]))

    with tiny_api(thinking) as (url, asked), caplog.at_level(logging.WARNING):
        target = ChatTarget(url, concurrency=1)
        assert target.answer([question(1), question(2)]) == ["7", "7"]
    assert len(asked) == 4, "the second question is asked rightly at once"
    assert caplog.text.count("its answers are not greedy") == 1


@pytest.mark.parametrize(
    ("status", "message"), [(401, "the key is refused"), (404, "no model 'tiny' there")]
)
def test_what_no_question_can_mend_ends_it(status: int, message: str) -> None:
    with (
        tiny_api(lambda _: failed(status, "so it is")) as (url, asked),
        pytest.raises(ConfigError, match=rf"{message} \(so it is\)"),
    ):
        list(ChatTarget(url, concurrency=1).stream([[question(1)]] * 50))
    assert len(asked) < 10


def test_an_api_with_several_models_wants_a_name() -> None:
    with tiny_api(echo, models=("b", "a")) as (url, _):
        with pytest.raises(ConfigError, match=r"has 2 models \(a, b\); name one"):
            ChatTarget(url)
        assert ChatTarget(url, "b").answer([question(1)]) == ["What is 1? with"]


def test_an_api_that_is_not_there_is_told() -> None:
    with tiny_api(echo) as (url, _):
        target = ChatTarget(url, retries=0)
    with pytest.raises(EndpointError, match=r"does not answer .* goes on once it does"):
        target.answer([question(1)])
    with pytest.raises(EndpointError, match="does not answer"):
        ChatTarget(url, retries=0)


def test_a_key_at_the_cut_of_a_long_message_is_hidden() -> None:
    found = told(ValueError("x" * 295 + "secret-key-1"), "secret-key-1")
    assert found == "x" * 295 + "***"


def test_no_message_holds_the_key(caplog: pytest.LogCaptureFixture) -> None:
    """Endpoints like to repeat it."""
    for status in (400, 401):
        refusal = failed(status, "what is 'secret-key-1' to me")
        with tiny_api(lambda _, it=refusal: it) as (url, _), caplog.at_level(logging.WARNING):
            target = ChatTarget(url, api_key="secret-key-1")
            if status == 400:
                assert target.answer([question(1)]) == [None]
            else:
                with pytest.raises(ConfigError) as caught:
                    target.answer([question(1)])
                assert "secret-key-1" not in str(caught.value)
                assert "what is '***' to me" in str(caught.value)
    assert "what is '***' to me" in caplog.text
    assert "secret-key-1" not in caplog.text
