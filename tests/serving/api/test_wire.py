"""What requests are taken and refused, and the form of what is sent back."""

import json
from typing import Any

import pytest

from components.serving.api.refusal import RequestRefused
from components.serving.api.wire import Head, chunk, completion, parse_request, usage, usage_chunk


def body(**changes: Any) -> bytes:
    values = {"model": "m", "messages": [{"role": "user", "content": "Hello"}], **changes}
    return json.dumps(values).encode()


def test_a_request_as_the_openai_client_sends_it() -> None:
    request = parse_request(
        body(
            temperature=0,
            top_p=0.9,
            max_tokens=5,
            stop=["END", "\n"],
            stream=True,
            stream_options={"include_usage": True},
            seed=7,
            n=1,
            user="somebody",
        )
    )
    assert request.temperature == 0
    assert request.answer_limit == 5
    assert request.stop_strings == ("END", "\n")
    assert request.stream_options is not None and request.stream_options.include_usage


@pytest.mark.parametrize(
    "harmless",
    [
        {"user": "x"},
        {"metadata": {"a": "b"}},
        {"store": False},
        {"service_tier": "auto"},
        {"parallel_tool_calls": True},
        {"frequency_penalty": 0, "presence_penalty": 0.0},
        {"logprobs": False, "top_logprobs": None},
        {"logit_bias": {}},
        {"tools": []},
        {"response_format": {"type": "text"}},
        {"modalities": ["text"]},
        {"n": None, "stop": None, "stream": None, "temperature": None},
        {"some_field_of_next_year": 1},
    ],
    ids=lambda value: next(iter(value)),
)
def test_fields_without_influence_are_tolerated(harmless: dict[str, Any]) -> None:
    parse_request(body(**harmless))


@pytest.mark.parametrize(
    ("changes", "param", "said"),
    [
        ({"model": None}, "model", "string"),
        ({"messages": []}, "messages", "at least 1"),
        ({"messages": "Hello"}, "messages", "array"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role", "tool"),
        ({"messages": [{"role": "user"}]}, "messages.0.content", "required"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages.0.content", "text and image"),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
            "messages.0.content.0",
            "input_audio",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]},
            "messages.0.content.0.image_url",
            "object",
        ),
        ({"temperature": "warm"}, "temperature", "number"),
        ({"temperature": 3}, "temperature", "less than or equal to 2"),
        ({"temperature": -1}, "temperature", "greater than or equal to 0"),
        ({"top_p": 0}, "top_p", "greater than 0"),
        ({"max_tokens": 0}, "max_tokens", "greater than or equal to 1"),
        ({"max_tokens": 1.5}, "max_tokens", "integer"),
        ({"max_completion_tokens": -2}, "max_completion_tokens", "greater than or equal to 1"),
        ({"stream": "yes"}, "stream", "boolean"),
        ({"stop": 3}, "stop", "string"),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop", "at most 4"),
        ({"stop": ["a", ""]}, "stop", "empty"),
        ({"seed": "x"}, "seed", "integer"),
        ({"n": 2}, "n", "several times"),
        ({"tools": [{"type": "function"}]}, "tools", "not supported"),
        ({"logprobs": True}, "logprobs", "not supported"),
        ({"frequency_penalty": 0.5}, "frequency_penalty", "not supported"),
        ({"logit_bias": {"3": 1}}, "logit_bias", "not supported"),
        ({"response_format": {"type": "json_object"}}, "response_format", "not supported yet"),
        ({"modalities": ["audio"]}, "modalities", "text"),
    ],
)
def test_what_is_refused_is_named(changes: dict[str, Any], param: str, said: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        parse_request(body(**changes))
    assert refused.value.status == 400
    assert refused.value.param == param
    assert said in refused.value.message
    assert refused.value.body()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"3", b'"x"', b"\xff\xfe", b"null"])
def test_a_body_that_is_no_object_is_refused(text: bytes) -> None:
    with pytest.raises(RequestRefused):
        parse_request(text)


def test_a_lone_surrogate_does_not_reach_the_tokenizer() -> None:
    with pytest.raises(RequestRefused):
        parse_request(b'{"model": "m", "messages": [{"role": "user", "content": "\\ud800"}]}')


def test_a_long_value_is_not_echoed_whole() -> None:
    with pytest.raises(RequestRefused) as refused:
        parse_request(body(messages=[{"role": "user", "content": {"x": "y" * 10_000}}]))
    assert len(refused.value.message) < 300


def test_answers_validate_as_the_openai_types() -> None:
    from openai.types.chat import ChatCompletion, ChatCompletionChunk

    head = Head.new("m", "3")
    whole = ChatCompletion.model_validate(completion(head, "An apple.", "stop", usage(10, 3)))
    assert whole.choices[0].message.content == "An apple."
    assert whole.usage is not None and whole.usage.total_tokens == 13
    for event in (
        chunk(head, first=True, with_usage=True),
        chunk(head, text="An"),
        chunk(head, finish="length"),
        usage_chunk(head, usage(10, 3)),
    ):
        ChatCompletionChunk.model_validate(event)
    assert chunk(head, text="x", with_usage=True)["usage"] is None
    assert "usage" not in chunk(head, text="x")
