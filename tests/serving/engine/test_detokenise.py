"""Pieces of a stream: whole characters, kept spaces, no sight of stop strings."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from components.serving.engine.detokenise import TextStream


class Bytes:
    """A tokenizer whose ids are bytes: every character beyond ASCII takes several tokens."""

    def decode(
        self, token_ids: list[int], *, skip_special_tokens: bool, clean_up_tokenization_spaces: bool
    ) -> str:
        return bytes(token_ids).decode("utf-8", errors="replace")


class Pieces:
    """Words with SentencePiece's space mark; its decoder drops the space of the first piece."""

    WORDS = ("\u2581An", "\u2581apple", "s", "\u2581and", ".", "\u2581", "<0xC3>", "<0xA9>")

    def __init__(self) -> None:
        vocabulary = {word: index for index, word in enumerate(self.WORDS)}
        backend = Tokenizer(models.BPE(vocabulary, [], byte_fallback=True))
        backend.pre_tokenizer = pre_tokenizers.Metaspace()
        backend.decoder = decoders.Sequence(
            [
                decoders.Replace("\u2581", " "),
                decoders.ByteFallback(),
                decoders.Fuse(),
                decoders.Strip(" ", 1, 0),
            ]
        )
        self._backend = backend

    def decode(
        self, token_ids: list[int], *, skip_special_tokens: bool, clean_up_tokenization_spaces: bool
    ) -> str:
        return str(self._backend.decode(token_ids, skip_special_tokens=skip_special_tokens))


def pieces_of(stream: TextStream, ids: list[int]) -> list[str]:
    pieces = []
    for token in ids:
        pieces.append(stream.push(token))
        if stream.stopped:
            break
    return [*pieces, stream.finish()]


@given(st.text(min_size=1))
@settings(max_examples=200, deadline=None)
def test_joined_pieces_are_the_text(text: str) -> None:
    pieces = pieces_of(TextStream(Bytes()), list(text.encode("utf-8", errors="replace")))
    expected = text.encode("utf-8", errors="replace").decode().removeprefix(" ")
    assert "".join(pieces) == expected


def test_no_piece_ends_within_a_character() -> None:
    text = "caf\u00e9 \U0001f34e \u4e2d"
    pieces = pieces_of(TextStream(Bytes()), list(text.encode()))
    assert not any("\ufffd" in piece for piece in pieces)
    assert [piece for piece in pieces if piece] == list(text)


def test_an_unfinished_character_comes_out_at_the_end() -> None:
    assert pieces_of(TextStream(Bytes()), list("a\u00e9".encode())[:2]) == ["a", "", "\ufffd"]


def test_spaces_between_words_are_kept_and_the_first_is_dropped() -> None:
    stream = TextStream(Pieces())
    assert pieces_of(stream, [0, 1, 2, 3, 1, 4]) == ["An", " apple", "s", " and", " apple", ".", ""]


def test_byte_pieces_make_one_character() -> None:
    assert "".join(pieces_of(TextStream(Pieces()), [0, 6, 7, 1])) == "An\u00e9 apple"


@pytest.mark.parametrize(
    ("text", "stop", "expected"),
    [
        ("An apple. END and more", ["END"], "An apple. "),
        ("An apple. EN", ["END"], "An apple. EN"),
        ("EEEND", ["EEND"], "E"),
        ("one\ntwo", ["\n"], "one"),
        ("abcabd", ["abd", "zz"], "abc"),
        ("x</s>", ["</s>"], "x"),
        ("stop at the first of both", ["both", "first"], "stop at the "),
        ("END", ["END"], ""),
    ],
)
def test_a_stop_string_is_never_seen(text: str, stop: list[str], expected: str) -> None:
    stream = TextStream(Bytes(), stop)
    pieces = pieces_of(stream, list(text.encode()))
    assert "".join(pieces) == expected
    assert stream.stopped == any(each in text for each in stop)


@given(st.text("ab", min_size=1, max_size=30), st.text("ab", min_size=1, max_size=4))
@settings(max_examples=300, deadline=None)
def test_a_stop_string_cuts_where_it_first_ends(text: str, stop: str) -> None:
    pieces = pieces_of(TextStream(Bytes(), [stop]), list(text.encode()))
    assert "".join(pieces) == text.partition(stop)[0]
