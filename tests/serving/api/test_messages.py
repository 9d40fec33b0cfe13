"""Chat messages become the conversation of the training data."""

import base64
from typing import Any

import pytest

from components.data.records import Turn
from components.serving.api.messages import read_conversation
from components.serving.api.refusal import RequestRefused
from components.serving.api.wire import ChatRequest
from components.serving.config import ServingConfig

CONFIG = ServingConfig(max_messages=8)


def read(*messages: dict[str, Any]) -> Any:
    request = ChatRequest.model_validate({"model": "m", "messages": list(messages)})
    return read_conversation(request, CONFIG)


def user(*content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content[0] if len(content) == 1 else list(content)}


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value}


def image(data: bytes) -> dict[str, Any]:
    url = f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}


def test_a_conversation_alternates_and_ends_with_the_question() -> None:
    found = read(user("Hello"), {"role": "assistant", "content": "Hi."}, user("What is it?"))
    assert found.turns == [Turn("human", "Hello"), Turn("gpt", "Hi."), Turn("human", "What is it?")]
    assert found.image is None


def test_parts_are_joined_and_the_picture_is_taken_out(picture: bytes) -> None:
    found = read(user(text("What is"), image(picture), text("this?")))
    assert found.turns == [Turn("human", "What is\nthis?")]
    assert found.image == picture


def test_a_picture_of_a_later_message_counts_for_the_conversation(picture: bytes) -> None:
    found = read(
        user("Hello"),
        {"role": "assistant", "content": "Hi."},
        user(image(picture), text("What is this?")),
    )
    assert found.image == picture


@pytest.mark.parametrize("role", ["system", "developer"])
def test_instructions_go_before_the_first_question(role: str) -> None:
    found = read({"role": role, "content": "Be brief."}, user("What is it?"))
    assert found.turns == [Turn("human", "Be brief.\nWhat is it?")]


def test_neighbours_of_one_role_are_merged() -> None:
    assert read(user("One."), user("Two?")).turns == [Turn("human", "One.\nTwo?")]


def test_two_pictures_are_refused_with_advice(picture: bytes) -> None:
    with pytest.raises(RequestRefused, match="one image per conversation") as refused:
        read(user(image(picture), image(picture), text("Which?")))
    assert refused.value.code == "too_many_images"


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([{"role": "assistant", "content": "Hi."}], "begin and end with a user"),
        ([user("Hello"), {"role": "assistant", "content": "Hi."}], "begin and end with a user"),
        ([{"role": "system", "content": "x"}], "begin and end with a user"),
        ([user("Hello"), {"role": "system", "content": "x"}, user("y")], "before the first user"),
        ([user("  ")], "messages.0: the content is empty"),
        ([user("a"), {"role": "assistant", "content": ""}, user("b")], "messages.1"),
        ([user("x")] * 9, "at most 8"),
    ],
    ids=["answer only", "no question", "system only", "late system", "blank", "no answer", "long"],
)
def test_what_cannot_be_rendered_is_refused(messages: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(RequestRefused, match=said):
        read(*messages)


def test_a_picture_alone_and_a_picture_by_the_assistant_are_refused(picture: bytes) -> None:
    with pytest.raises(RequestRefused, match="without a question"):
        read({"role": "user", "content": [image(picture)]})
    shown = {"role": "assistant", "content": [text("Look"), image(picture)]}
    with pytest.raises(RequestRefused, match="only user messages"):
        read(user("Hello"), shown, user("What?"))
