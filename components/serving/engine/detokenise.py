"""Token ids to text, piece by piece: what a stream sends, and what a plain answer is joined from.

In: generated ids one at a time. Out: text that is safe to show. Never splits a character over two
pieces, never loses the space before a word, and never shows the beginning of a stop string.
"""

from collections.abc import Sequence
from typing import Protocol

UNFINISHED = "\ufffd"
"""What decoders put for bytes that are not (yet) a whole UTF-8 character."""


class Tokenizer(Protocol):
    """The one method of a transformers tokenizer that is used here."""

    def decode(
        self, token_ids: list[int], *, skip_special_tokens: bool, clean_up_tokenization_spaces: bool
    ) -> str: ...


class TextStream:
    """Turns ids into text pieces; the joined pieces are the answer.

    The first space is dropped: in the training text it stands between `ASSISTANT:` and the answer,
    so it belongs to the template.
    """

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str] = ()) -> None:
        self._tokenizer = tokenizer
        self._stop = tuple(stop)
        self._ids: list[int] = []
        # ids[_start:_read] were shown already; they are decoded again as context, because decoders
        # drop the space of whatever token comes first.
        self._start = 0
        self._read = 0
        self._held = ""
        self._at_beginning = True
        self.stopped = False

    def push(self, token_id: int) -> str:
        """Return the text that can be shown now, often none. A stop string sets `stopped`."""
        self._ids.append(token_id)
        shown = self._decode(self._ids[self._start : self._read])
        text = self._decode(self._ids[self._start :])
        if text.endswith(UNFINISHED) or len(text) <= len(shown):
            return ""
        self._start, self._read = self._read, len(self._ids)
        return self._show(text[len(shown) :])

    def finish(self) -> str:
        """Return what was held back: an unfinished character, the beginning of a stop string."""
        shown = self._decode(self._ids[self._start : self._read])
        rest = self._decode(self._ids[self._start :])[len(shown) :]
        self._start = self._read = len(self._ids)
        text = self._show(rest) if rest else ""
        text, self._held = text + self._held, ""
        return text

    def _decode(self, ids: list[int]) -> str:
        return self._tokenizer.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )

    def _show(self, text: str) -> str:
        """Pass text on, minus a stop string and whatever may be the beginning of one."""
        if self.stopped:
            return ""
        if self._at_beginning:
            self._at_beginning = False
            text = text.removeprefix(" ")
        text = self._held + text
        ends = [place for stop in self._stop if (place := text.find(stop)) >= 0]
        if ends:
            self.stopped, self._held = True, ""
            return text[: min(ends)]
        keep = max((_overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that begins `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
