"""Rows of the LLaVA JSON format: what is taken and why the rest is not."""

import pytest

from components.data.records import BadRecord, Turn, parse_record
from tests.data.samples import llava_row


@pytest.mark.parametrize("question", ["<image>\nWhat?", "What?\n<image>", "<image> What?"])
def test_the_placeholder_may_stand_on_either_side(question):
    record = parse_record(llava_row("7", "a.jpg", question, "A cat."), "x", "coco")
    assert record.turns == (Turn("human", "What?"), Turn("gpt", "A cat."))
    assert record.image == "coco/a.jpg"


def test_an_opening_gpt_turn_is_dropped():
    row = llava_row("7", None, "q", "a")
    row["conversations"].insert(0, {"from": "gpt", "value": "Welcome."})
    assert parse_record(row, "x").turns[0] == Turn("human", "q")


def test_the_placeholder_in_an_answer_is_content():
    assert (
        parse_record(llava_row("7", None, "q", "write <image>"), "x").turns[1].text
        == "write <image>"
    )


BAD = {
    "no object": (["x"], "expected an object, found list"),
    "no conversations": ({"id": "7"}, "`conversations` must be a list"),
    "empty conversations": ({"id": "7", "conversations": []}, "at least one turn"),
    "unknown role": ({"conversations": [{"from": "bot", "value": "x"}]}, "role 'bot'"),
    "value no text": ({"conversations": [{"from": "human", "value": 3}]}, "value is int"),
    "turn no object": ({"conversations": ["hi"]}, "role None"),
    "empty answer": (llava_row("7", None, "q", "  "), "turn 1: empty answer"),
    "empty question": (llava_row("7", None, "", "a"), "turn 0: empty question"),
    "no answer": (llava_row("7", None, "q", "a", "q2"), "last question has no answer"),
    "only gpt": ({"conversations": [{"from": "gpt", "value": "x"}]}, "no human turn"),
    "placeholder without image": (
        llava_row("7", None, "<image>\nq", "a"),
        "1 <image> placeholders but 0",
    ),
    "image without placeholder": (
        llava_row("7", "a.jpg", "q", "a"),
        "0 <image> placeholders but 1",
    ),
    "two placeholders": (
        llava_row("7", "a.jpg", "<image><image>q", "a"),
        "2 <image> placeholders but 1",
    ),
    "placeholder later": (llava_row("7", "a.jpg", "q", "a", "<image>", "b"), "in a later question"),
    "several images": (
        {**llava_row("7", None, "q", "a"), "image": ["a", "b"]},
        "2 images in one row",
    ),
    "image no text": ({**llava_row("7", None, "q", "a"), "image": 3}, "image is 3"),
    "bytes that are no UTF-8": (llava_row("7", None, "q", "a\udcff"), "turn 1: invalid UTF-8"),
}


@pytest.mark.parametrize(("row", "message"), BAD.values(), ids=BAD)
def test_bad_rows_are_refused_with_a_reason(row, message):
    with pytest.raises(BadRecord) as caught:
        parse_record(row, "x", file="train.json", index=12)
    assert message in caught.value.reason
    assert str(caught.value).startswith("train.json[12] id=")


def test_roles_out_of_order_are_refused():
    row = llava_row("7", None, "q", "a")
    row["conversations"].insert(1, {"from": "human", "value": "and?"})
    with pytest.raises(BadRecord, match="roles out of order, 'human' where 'gpt' is due"):
        parse_record(row, "x")
