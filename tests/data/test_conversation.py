"""The rendered text of both templates, to the letter."""

import pytest

from components.core.errors import ConfigError, DataError
from components.data.conversation import END, IMAGE, VICUNA_SYSTEM, Segment, render
from components.data.records import Turn
from tests.data.samples import transcript

TWO_ROUNDS = (
    Turn("human", "q1"),
    Turn("gpt", "a1"),
    Turn("human", "q2"),
    Turn("gpt", "a2"),
)


def test_vicuna_with_image_and_two_rounds():
    text = transcript(render(TWO_ROUNDS, "vicuna_v1", has_image=True))
    assert text == (
        "A chat between a curious user and an artificial intelligence assistant. The assistant "
        "gives helpful, detailed, and polite answers to the user's questions. "
        "USER: <image>\nq1 ASSISTANT: a1</s>USER: q2 ASSISTANT: a2</s>"
    )


def test_vicuna_text_only():
    text = transcript(render(TWO_ROUNDS[:2]))
    assert text == f"{VICUNA_SYSTEM} USER: q1 ASSISTANT: a1</s>"


def test_only_answers_and_their_ends_are_supervised():
    supervised = [segment for segment in render(TWO_ROUNDS, has_image=True) if segment.supervised]
    assert supervised == [Segment(" a1", True), END, Segment(" a2", True), END]


def test_a_prompt_ends_where_the_answer_begins():
    prompt = render(TWO_ROUNDS[:3], has_image=True, generation=True)
    assert transcript(prompt).endswith("</s>USER: q2 ASSISTANT:")
    assert prompt == render(TWO_ROUNDS, has_image=True)[: len(prompt)]


def test_a_question_that_is_only_an_image_gets_no_newline():
    turns = (Turn("human", " "), Turn("gpt", "a"))
    assert "USER: <image> ASSISTANT: a" in transcript(render(turns, has_image=True))


def test_plain_is_the_image_and_the_caption():
    segments = render(
        (Turn("human", "Describe it."), Turn("gpt", "a cat")), "plain", has_image=True
    )
    assert segments == [IMAGE, Segment("a cat\n", True)]


@pytest.mark.parametrize(
    ("turns", "arguments", "message"),
    [
        ((), {}, "expected the last one"),
        (TWO_ROUNDS[:1], {}, "an answer to learn from"),
        (TWO_ROUNDS[:2], {"generation": True}, "a question"),
        (TWO_ROUNDS[1:3], {}, "must alternate"),
        (TWO_ROUNDS, {"template": "plain"}, "one caption"),
    ],
)
def test_turns_that_do_not_fit_are_refused(turns, arguments, message):
    with pytest.raises(DataError, match=message):
        render(turns, **arguments)


def test_an_unknown_template_names_the_known_ones():
    with pytest.raises(ConfigError, match="vicuna_v1, plain"):
        render(TWO_ROUNDS, "llama_2")
