"""Chat messages become the conversation of the training data: what is read, what is refused."""

import base64
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from components.data.chat import parse_messages
from components.data.records import Turn
from components.serving.api.chat_request import read_conversation, read_image_url
from components.serving.api.refusal import RequestRefused
from components.serving.api.wire import ChatRequest
from components.serving.config import ServingConfig

CONFIG = ServingConfig(max_messages=8)
LIMITED = ServingConfig(max_image_bytes=20_000, max_image_pixels=10_000)


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


def test_parts_are_joined_and_the_image_is_taken_out(image_bytes: bytes) -> None:
    found = read(user(text("What is"), image(image_bytes), text("this?")))
    assert found.turns == [Turn("human", "What is\nthis?")]
    assert found.image == image_bytes


def test_an_image_of_a_later_message_counts_for_the_conversation(image_bytes: bytes) -> None:
    found = read(
        user("Hello"),
        {"role": "assistant", "content": "Hi."},
        user(image(image_bytes), text("What is this?")),
    )
    assert found.image == image_bytes


def test_a_served_question_has_the_turns_that_training_gives(image_bytes: bytes) -> None:
    asked = [
        {"role": "system", "content": " Be brief. "},
        user(text(" What is"), image(image_bytes), text("this? ")),
        {"role": "assistant", "content": "\ta cat "},
        user("Why?\n"),
    ]
    row = {"messages": [*asked, {"role": "assistant", "content": "It purrs."}]}
    record, found = parse_messages(row, "mine"), read(*asked)
    assert tuple(found.turns) == record.turns[:-1]
    assert found.image == record.image_bytes == image_bytes


@pytest.mark.parametrize("role", ["system", "developer"])
def test_instructions_go_before_the_first_question(role: str) -> None:
    found = read({"role": role, "content": "Be brief."}, user("What is it?"))
    assert found.turns == [Turn("human", "Be brief.\nWhat is it?")]


def test_neighbours_of_one_role_are_merged() -> None:
    assert read(user("One."), user("Two?")).turns == [Turn("human", "One.\nTwo?")]


def test_two_images_are_refused_with_advice(image_bytes: bytes) -> None:
    with pytest.raises(RequestRefused, match="one image per conversation") as refused:
        read(user(image(image_bytes), image(image_bytes), text("Which?")))
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


def test_an_image_alone_and_an_image_by_the_assistant_are_refused(image_bytes: bytes) -> None:
    with pytest.raises(RequestRefused, match="without a question"):
        read({"role": "user", "content": [image(image_bytes)]})
    shown = {"role": "assistant", "content": [text("Look"), image(image_bytes)]}
    with pytest.raises(RequestRefused, match="only user messages"):
        read(user("Hello"), shown, user("What?"))


def encoded(kind: str, size: tuple[int, int] = (20, 10)) -> bytes:
    file = BytesIO()
    Image.new("RGB", size, (200, 30, 40)).save(file, kind)
    return file.getvalue()


def url_of(data: bytes, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_the_four_formats_come_back_byte_for_byte(kind: str) -> None:
    data = encoded(kind)
    assert read_image_url(url_of(data, f"image/{kind.lower()}"), LIMITED, "p") == data


def test_the_media_type_may_be_absent_or_carry_parameters() -> None:
    data = encoded("PNG")
    text = base64.b64encode(data).decode()
    assert read_image_url(f"data:;base64,{text}", LIMITED, "p") == data
    assert read_image_url(f"DATA:image/png;name=a.png;base64,{text}", LIMITED, "p") == data


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://169.254.169.254/latest/meta-data", "fetches nothing"),
        ("https://example.org/cat.jpg", "fetches nothing"),
        ("file:///etc/passwd", "fetches nothing"),
        ("ftp://example.org/cat.jpg", "fetches nothing"),
        ("/etc/passwd", "fetches nothing"),
        ("", "fetches nothing"),
        ("data:image/png,abc", ";base64"),
        ("data:text/html;base64,PGI+", "text/html"),
        ("data:image/svg+xml;base64,PHN2Zz4=", "svg"),
        ("data:image/png;base64,", "no bytes"),
        ("data:image/png;base64,!!!!", "base64"),
        ("data:image/png;base64,AAA", "base64"),
        ("data:image/png;base64,AAAA", "not a readable image"),
        (url_of(encoded("BMP")), "not a readable image"),
        (url_of(encoded("PNG")[:40]), "not a readable image"),
    ],
    ids=lambda value: value[:40],
)
def test_what_is_not_an_embedded_image_is_refused(url: str, said: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        read(user(text("What is this?"), {"type": "image_url", "image_url": {"url": url}}))
    assert refused.value.status == 400
    assert refused.value.param == "messages.0.content.1.image_url.url"
    assert said in refused.value.message


def test_a_file_over_the_limit_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(RequestRefused, match="at most 20000") as refused:
        read_image_url("data:image/png;base64," + "A" * 40_000, LIMITED, "p")
    assert refused.value.status == 413


def test_a_small_file_with_too_many_pixels_is_refused() -> None:
    bomb = encoded("PNG", (1000, 11))
    assert len(bomb) < LIMITED.max_image_bytes
    with pytest.raises(RequestRefused, match="1000x11 = 11000 pixels") as refused:
        read_image_url(url_of(bomb), LIMITED, "p")
    assert refused.value.status == 413
