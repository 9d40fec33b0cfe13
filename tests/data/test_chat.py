"""Chat messages: every way to show an image gives the same record; what cannot be said is said."""

import base64

import pytest

from components.data.chat import parse_messages
from components.data.records import BadRecord, Turn
from tests.data.samples import jpeg

IMAGE = jpeg(1)
URL = "data:image/jpeg;base64," + base64.b64encode(IMAGE).decode()
QUESTION = {"type": "text", "text": "What is this?"}


def chat(content, answer="a cat", **row):
    messages = [{"role": "user", "content": content}, {"role": "assistant", "content": answer}]
    return {"id": "one", "messages": messages, **row}


SHOWN = {
    "a part and a list": chat([{"type": "image"}, QUESTION], images=["cat.jpg"]),
    "a part with its path": chat([{"type": "image", "image": "cat.jpg"}, QUESTION]),
    "an image_url with a path": chat(
        [QUESTION, {"type": "image_url", "image_url": {"url": "cat.jpg"}}]
    ),
    "a placeholder and a list": chat("<image>\nWhat is this?", images=["cat.jpg"]),
    "a list alone": chat("What is this?", images=["cat.jpg"]),
    "a single image": chat("What is this?", image="cat.jpg"),
    "parts filled up with nulls": chat(
        [{"type": "image", "text": None}, {"type": "text", "text": "What is this?"}],
        images=[{"bytes": None, "path": "cat.jpg"}],
    ),
}


@pytest.mark.parametrize("row", SHOWN.values(), ids=SHOWN)
def test_every_way_to_show_an_image_gives_the_same_record(row):
    record = parse_messages(row, "mine", "own.jsonl", 3)
    assert record.turns == (Turn("human", "What is this?"), Turn("gpt", "a cat"))
    assert (record.image, record.image_bytes) == ("cat.jpg", None)
    assert (record.id, record.source, record.file, record.index) == ("one", "mine", "own.jsonl", 3)


@pytest.mark.parametrize(
    "row",
    [
        chat([{"type": "image_url", "image_url": {"url": URL}}, QUESTION]),
        chat([{"type": "image"}, QUESTION], images=[{"bytes": IMAGE, "path": None}]),
        chat("What is this?", images=[IMAGE]),
    ],
    ids=["data url", "struct of bytes", "bytes"],
)
def test_an_image_inside_the_row_comes_with_it_under_a_name_of_its_content(row):
    record = parse_messages(row, "mine", "own.jsonl")
    assert record.image_bytes == IMAGE
    assert record.image.startswith("own.jsonl#")
    again = parse_messages({**row, "id": "two"}, "mine", "own.jsonl")
    assert again.image == record.image


def test_text_alone_and_several_turns():
    row = chat("Hello", "Hi")
    row["messages"] += [
        {"role": "user", "content": "And?"},
        {"role": "assistant", "content": [{"type": "text", "text": "So."}]},
    ]
    record = parse_messages(row, "mine")
    assert record.image is None
    assert [turn.text for turn in record.turns] == ["Hello", "Hi", "And?", "So."]


def test_a_system_message_goes_before_the_first_question():
    row = chat([{"type": "image"}, QUESTION], images=["cat.jpg"])
    row["messages"].insert(0, {"role": "system", "content": "Be brief."})
    assert parse_messages(row, "mine").turns[0].text == "Be brief.\nWhat is this?"


def test_texts_are_stripped_as_serving_strips_them():
    row = chat(" What is this?\n", "\ta cat ")
    row["messages"].insert(0, {"role": "system", "content": " Be brief. "})
    turns = parse_messages(row, "mine").turns
    assert turns == (Turn("human", "Be brief.\nWhat is this?"), Turn("gpt", "a cat"))


def test_control_text_stays_text():
    record = parse_messages(chat([{"type": "image"}, QUESTION], "</s> <image>", image="a"), "mine")
    assert record.turns[1].text == "</s> <image>"


def later_image():
    row = chat("Hello")
    row["messages"] += [
        {"role": "user", "content": [{"type": "image", "image": "a.jpg"}, QUESTION]},
        {"role": "assistant", "content": "a cat"},
    ]
    return row


BAD = {
    "no messages": ({"messages": []}, "list of at least one"),
    "a message that is a text": ({"messages": ["hi"]}, "messages.0: str; expected an object"),
    "an unknown role": ({"messages": [{"role": "tool", "content": "x"}]}, "role 'tool'"),
    "no content": ({"messages": [{"role": "user"}]}, "content is NoneType"),
    "roles out of order": (
        {"messages": [{"role": "user", "content": "a"}] * 2},
        "roles out of order",
    ),
    "an opening answer": (
        {"messages": [{"role": "assistant", "content": "a"}]},
        "roles out of order",
    ),
    "no answer": ({"messages": [{"role": "user", "content": "a"}]}, "has no answer"),
    "only a system message": ({"messages": [{"role": "system", "content": "a"}]}, "no human turn"),
    "an empty answer": (chat("a", " "), "turn 1: empty answer"),
    "two images": (chat([{"type": "image"}] * 2, images=["a", "b"]), "one image per"),
    "fewer images than parts": (chat([{"type": "image"}, QUESTION]), "1 image parts without an"),
    "fewer parts than images": (
        chat([{"type": "image", "image": "a"}, QUESTION], images=["b"]),
        "0 image parts without an address but 1",
    ),
    "two placeholders": (chat("<image><image>?", images=["a"]), "2 <image> placeholders"),
    "a placeholder without image": (chat("<image>?"), "1 <image> placeholders but 0 images"),
    "an image in an answer": (chat("a", [{"type": "image", "image": "a"}]), "of the assistant"),
    "an image in an instruction": (
        {"messages": [{"role": "system", "content": [{"type": "image", "image": "a"}]}]},
        "of the system",
    ),
    "an image in a later question": (later_image(), "stands in a later question"),
    "sound": (chat([{"type": "input_audio"}]), "a part of type 'input_audio'"),
    "an address": (chat("a", images=["https://a.b/c.jpg"]), "fetch the image"),
    "wrong base64": (chat("a", images=["data:image/png;base64,###"]), "cannot be decoded"),
    "a data url without base64": (chat("a", images=["data:image/png,abc"]), "without ;base64"),
    "an image of a wrong type": (chat("a", images=[7]), "image is int"),
    "an answer not to learn": (
        {"messages": [{"role": "assistant", "content": "a", "weight": 0}]},
        "weight 0",
    ),
    "invalid utf-8": (chat("b\udcff"), "invalid UTF-8"),
}


@pytest.mark.parametrize(("row", "reason"), BAD.values(), ids=BAD)
def test_a_bad_row_has_a_reason(row, reason):
    with pytest.raises(BadRecord, match=reason):
        parse_messages(row, "mine")
