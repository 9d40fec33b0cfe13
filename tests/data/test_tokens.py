"""Ids and labels against tables written by hand, the prefix property, control tokens in content."""

import json
import pickle

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.core.errors import DataError
from components.data.conversation import render
from components.data.records import Turn
from components.data.text_encoder import SPACE, TextEncoder, encoder_of
from components.data.tokens import (
    IGNORE_INDEX,
    encode,
    encode_all,
    expand_image_tokens,
)
from tests.data.samples import IMAGE_TOKEN_ID

IMG = "IMG"

# What the tokenizer of samples.py makes of the system sentence: one piece per known word.
SYSTEM = [
    *[
        "_A",
        "_chat",
        "_between",
        "_a",
        "_curious",
        "_user",
        "_and",
        "_an",
        "_artificial",
        "_intelligence",
        "_assistant",
        ".",
    ],
    *[
        "_The",
        "_assistant",
        "_gives",
        "_helpful",
        ",",
        "_detailed",
        ",",
        "_and",
        "_polite",
        "_answers",
        "_to",
        "_the",
    ],
    *["_user's", "_questions", "."],
]
# After an image a chunk begins with SentencePiece's dummy space, then the newline as a byte.
AFTER_IMAGE = ["_", "<0x0A>"]


def pieces(tokenizer, ids):
    """Ids as pieces, `_` for a space."""
    texts = [
        IMG if token == IMAGE_TOKEN_ID else tokenizer.convert_ids_to_tokens(token) for token in ids
    ]
    return [text.replace(SPACE, "_") for text in texts]


def table(tokenizer, encoded):
    """Rows of (piece, is labelled); a label always repeats its id."""
    for token, label in zip(encoded.input_ids, encoded.labels, strict=True):
        assert label in (token, IGNORE_INDEX)
    names = pieces(tokenizer, encoded.input_ids)
    return [
        (name, label != IGNORE_INDEX) for name, label in zip(names, encoded.labels, strict=True)
    ]


def unlabelled(*names):
    return [(name, False) for name in names]


def labelled(*names):
    return [(name, True) for name in names]


def turns_of(*texts):
    return tuple(Turn("gpt" if n % 2 else "human", text) for n, text in enumerate(texts))


def encoded_of(tokenizer, *texts, template="vicuna_v1", has_image=False, **limits):
    segments = render(turns_of(*texts), template, has_image, generation=len(texts) % 2 == 1)
    return encode(segments, tokenizer, IMAGE_TOKEN_ID, **limits)


def test_single_turn_with_image(tokenizer):
    encoded = encoded_of(tokenizer, "this cat?", "a red cat", has_image=True)
    assert table(tokenizer, encoded) == [
        *unlabelled("<s>", *SYSTEM, "_USER", ":", "_", IMG, *AFTER_IMAGE),
        # A word after a newline has no space before it, so it is spelt.
        *unlabelled("t", "h", "i", "s", "_cat", "?", "_ASSISTANT", ":"),
        *labelled("_a", "_red", "_cat", "</s>"),
    ]


def test_later_rounds_follow_the_end_token_without_a_space(tokenizer):
    encoded = encoded_of(tokenizer, "What is this", "a cat", "And that", "a dog", has_image=False)
    assert table(tokenizer, encoded) == [
        *unlabelled("<s>", *SYSTEM, "_USER", ":", "_What", "_is", "_this", "_ASSISTANT", ":"),
        *labelled("_a", "_cat", "</s>"),
        *unlabelled("USER", ":", "_And", "_that", "_ASSISTANT", ":"),
        *labelled("_a", "_dog", "</s>"),
    ]


def test_plain_labels_the_caption_and_its_newline(tokenizer):
    encoded = encoded_of(tokenizer, "Describe it.", "a red cat", template="plain", has_image=True)
    assert table(tokenizer, encoded) == [
        *unlabelled("<s>", IMG),
        *labelled("_a", "_red", "_cat", "<0x0A>"),
    ]


def test_a_caption_with_a_leading_space_keeps_it_beside_the_dummy_space(tokenizer):
    encoded = encoded_of(tokenizer, "", " a cat", template="plain", has_image=True)
    assert pieces(tokenizer, encoded.input_ids) == ["<s>", IMG, "_", "_a", "_cat", "<0x0A>"]


def test_truncation_cuts_text_and_never_patches(tokenizer):
    whole = encoded_of(tokenizer, "What", "a red cat", has_image=True)
    length = len(whole.input_ids) + 35
    cut = encoded_of(
        tokenizer, "What", "a red cat", has_image=True, max_tokens=length - 2, patches_per_image=36
    )
    assert cut.input_ids == whole.input_ids[:-2]
    assert pieces(tokenizer, cut.input_ids)[-2:] == ["_a", "_red"]
    ids, labels = expand_image_tokens(cut.input_ids, cut.labels, 36, IMAGE_TOKEN_ID)
    assert len(ids) == len(labels) == length - 2
    assert ids.count(IMAGE_TOKEN_ID) == 36
    assert [label for token, label in zip(ids, labels, strict=True) if token == IMAGE_TOKEN_ID] == [
        -100
    ] * 36


@pytest.mark.parametrize(
    ("limit", "message"),
    [(60, "do not hold the image"), (80, "no answer is left"), (5, "do not hold the image")],
)
def test_a_sample_cut_to_nothing_is_refused(tokenizer, limit, message):
    with pytest.raises(DataError, match=message):
        encoded_of(
            tokenizer, "What " * 20, "a cat", has_image=True, max_tokens=limit, patches_per_image=36
        )


def test_a_prompt_that_is_too_long_is_refused_not_cut(tokenizer):
    with pytest.raises(DataError, match="prompt takes"):
        encoded_of(tokenizer, "What is this", max_tokens=20)


@pytest.mark.parametrize(
    "text", ["</s>", "<s>", "<image>", "<unk>", "x</s><image> <s>y", "<</s>s>"]
)
def test_control_tokens_in_content_stay_text(tokenizer, text):
    encoded = encoded_of(tokenizer, f"is {text}", f"a {text}", has_image=True)
    counts = {
        name: encoded.input_ids.count(tokenizer.convert_tokens_to_ids(name))
        for name in ("<s>", "</s>")
    }
    assert counts == {"<s>": 1, "</s>": 1}
    assert encoded.input_ids.count(IMAGE_TOKEN_ID) == 1
    assert tokenizer.unk_token_id not in encoded.input_ids
    spelt = "".join(pieces(tokenizer, encoded.input_ids)[-len(text) - 3 : -1]).replace("_", " ")
    assert spelt.endswith(text)


def test_an_image_token_added_to_the_tokenizer_is_not_found_in_text():
    from tests.data.samples import build_tokenizer

    tokenizer = build_tokenizer()
    tokenizer.add_tokens(["<image>", "<pad>"], special_tokens=True)
    image = tokenizer.convert_tokens_to_ids("<image>")
    segments = render(turns_of("<image> <pad>", "a <image>"), has_image=True)
    encoded = encode(segments, tokenizer, image)
    assert encoded.input_ids.count(image) == 1
    assert tokenizer.convert_tokens_to_ids("<pad>") not in encoded.input_ids
    assert "<image>" in encoder_of(tokenizer).controls


texts = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=30) | st.sampled_from(
    ["</s>", " ASSISTANT: no", "USER:", "\n", "  two", "<image>", "\u2581"]
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rounds=st.lists(st.tuples(texts, texts), min_size=1, max_size=3), has_image=st.booleans())
def test_the_ids_of_a_prompt_are_a_prefix_of_the_training_ids(tokenizer, rounds, has_image):
    flat = [text for pair in rounds for text in pair]
    whole = encoded_of(tokenizer, *flat, has_image=has_image)
    for number in range(len(rounds)):
        prompt = encoded_of(tokenizer, *flat[: 2 * number + 1], has_image=has_image)
        length = len(prompt.input_ids)
        assert whole.input_ids[:length] == prompt.input_ids
        # What follows the prompt is the first labelled position of its answer.
        assert whole.labels[length] == whole.input_ids[length]
    assert whole.input_ids.count(tokenizer.eos_token_id) == len(rounds)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(question=texts, answer=texts)
def test_the_labels_spell_the_answer(tokenizer, question, answer):
    encoded = encoded_of(tokenizer, question, answer)
    labels = [label for label in encoded.labels if label != IGNORE_INDEX]
    assert labels.pop() == tokenizer.eos_token_id
    spelt = b""
    for token in labels:
        piece = tokenizer.convert_ids_to_tokens(token)
        is_byte = piece.startswith("<0x") and len(piece) == 6
        spelt += bytes([int(piece[3:5], 16)]) if is_byte else piece.replace(SPACE, " ").encode()
    assert spelt.decode() == f" {answer}".replace(SPACE, " ")


def test_half_a_surrogate_pair_is_a_data_error(tokenizer):
    with pytest.raises(DataError, match="not valid Unicode near character"):
        encoded_of(tokenizer, "half \ud83d of a smile")


def test_many_at_once_equals_one_by_one(tokenizer):
    rows = [render(turns_of("What " * n, "a cat"), has_image=bool(n % 2)) for n in range(1, 6)]
    together = encode_all(rows, tokenizer, IMAGE_TOKEN_ID, 60, 4)
    for segments, encoded in zip(rows, together, strict=True):
        try:
            assert encoded == encode(segments, tokenizer, IMAGE_TOKEN_ID, 60, 4)
        except DataError as error:
            assert str(error) == str(encoded)


def test_normal_rows_have_the_ids_of_the_tokenizer_itself(tokenizer):
    """For text without an image our segments join to what the tokenizer gives the whole text."""
    encoded = encoded_of(tokenizer, "What is this", "a cat", "And that", "a dog")
    whole = render(turns_of("What is this", "a cat", "And that", "a dog"))
    text = "".join(segment.text for segment in whole)
    own = tokenizer(text, add_special_tokens=False).input_ids
    assert encoded.input_ids == [tokenizer.bos_token_id, *own]


WORDS = [*"  abcehinrstuAT.,\n", SPACE, "\u00e9", "\u4e16", "<s>", "</s>", "cat", "this"]
TEXTS = st.lists(st.sampled_from(WORDS)).map("".join)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.tuples(TEXTS, st.booleans()), max_size=4))
def test_words_have_the_pieces_that_they_have_in_their_text(tokenizer, texts):
    by_word = encoder_of(tokenizer)
    whole = TextEncoder(tokenizer)
    assert by_word._by_word
    whole._by_word = False
    assert by_word.encode_texts(texts) == whole.encode_texts(texts)


def test_words_are_forgotten_rather_than_fill_the_memory(tokenizer, monkeypatch):
    monkeypatch.setattr("components.data.text_encoder._WORDS_REMEMBERED", 5)
    encoder, fresh = TextEncoder(tokenizer), TextEncoder(tokenizer)
    for number in range(20):
        text = (f"a cat {number} " + "x" * 70 * number, True)
        expected = fresh.encode_texts([text])
        assert encoder.encode_texts([text]) == expected
        assert len(encoder._pieces) <= 5
        assert all(len(word) <= 64 for word in encoder._pieces)


@pytest.mark.parametrize(
    "change",
    [
        lambda state: state["model"]["vocab"].update({f"a{SPACE}b": 490}),
        lambda state: state.update(normalizer={"type": "NFKC"}),
        lambda state: state["pre_tokenizer"].update(split=True),
        lambda state: state["added_tokens"].append(
            {
                "id": 490,
                "content": "<image>",
                "single_word": False,
                "lstrip": True,
                "rstrip": False,
                "normalized": False,
                "special": False,
            }
        ),
    ],
)
def test_a_tokenizer_whose_pieces_may_reach_over_spaces_sees_whole_texts(tokenizer, change):
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    state = json.loads(tokenizer.backend_tokenizer.to_str())
    change(state)
    other = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)),
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
    )
    assert not TextEncoder(other)._by_word


def test_the_encoder_travels_to_other_processes(tokenizer):
    encoder = encoder_of(tokenizer)
    copy = pickle.loads(pickle.dumps(encoder))
    text = [("What is this </s> cat", True)]
    assert copy.encode_texts(text) == encoder.encode_texts(text)
    assert encoder_of(copy) is copy
