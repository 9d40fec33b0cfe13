"""Plain text becomes token ids: no control token, no template, and words looked up where they may.

In: a fast tokenizer of transformers. Out: an encoder of plain text that needs the library
`tokenizers` alone, and so starts fast in other processes. Text that looks like a control token
stays text. Does not know conversations.
"""

import json
import re
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any
from weakref import WeakKeyDictionary

from components.core.errors import ConfigError, DataError

SPACE = "\u2581"
"""SentencePiece's letter for a space."""
_WORD = re.compile(" *[^ ]+| +")
_WORDS_REMEMBERED = 200_000
"""Words whose pieces are kept, some 30 MB; with more of them all are forgotten."""
_LONGEST_REMEMBERED = 64

Tokenizer = Any
"""A fast tokenizer of transformers, or its `TextEncoder`; typed loosely, as it has no types."""


class TextEncoder:
    """Plain text to ids, without control tokens or templates of the tokenizer's own.

    Stands for its tokenizer in all functions here. Small and picklable: a process that only encodes
    needs the library `tokenizers`, but neither transformers nor torch.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        from tokenizers import Tokenizer as Backend

        backend = getattr(tokenizer, "backend_tokenizer", None)
        if backend is None:
            raise ConfigError(
                f"{type(tokenizer).__name__} is not a fast tokenizer; load it with AutoTokenizer "
                "of transformers (it needs tokenizer.json, or a Llama tokenizer.model)"
            )
        state = json.loads(backend.to_str())
        self.dummy_space = _remove_dummy_space(state)
        state["truncation"] = state["padding"] = state["post_processor"] = None
        self.backend = Backend.from_str(json.dumps(state))
        self._by_word = _splits_at_spaces(state)
        self._pieces: dict[str, tuple[int, ...]] = {}
        specials = [token for token in state["added_tokens"] if token["special"]]
        self.controls = tuple(token["content"] for token in specials)
        unknown = tokenizer.unk_token_id
        self.control_ids = (
            frozenset(token["id"] for token in specials) - {unknown} - _byte_ids(specials)
        )
        splittable = sorted(
            (text for text in self.controls if len(text) > 1), key=len, reverse=True
        )
        self._control_pattern = re.compile("|".join(map(re.escape, splittable)) or r"(?!)")
        self.bos_id: int | None = tokenizer.bos_token_id
        self.eos_id: int | None = tokenizer.eos_token_id

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_pieces": {}}

    def encode_texts(self, texts: Sequence[tuple[str, bool]]) -> list[list[int]]:
        """Return the ids of each (text, starts a chunk) pair."""
        parts: list[str] = []
        sizes: list[int] = []
        for text, fresh in texts:
            # SentencePiece puts a dummy space also before a chunk that begins with a space.
            split = self._split(f" {text}" if fresh and self.dummy_space else text)
            parts += split
            sizes.append(len(split))
        for part in parts:
            _check_unicode(part)
        encoded = iter(self._ids_of(parts))
        return [list(chain.from_iterable(islice(encoded, size))) for size in sizes]

    def _ids_of(self, parts: list[str]) -> list[list[int]]:
        """Return the ids of each text; where words can be looked up it is three times as fast."""
        if not self._by_word:
            encoded = self.backend.encode_batch(parts, add_special_tokens=False)
            return [one.ids for one in encoded]
        # Kept by name, for another thread may put a new one in its place.
        pieces = self._pieces
        words = [_WORD.findall(part) for part in parts]
        new = set(chain.from_iterable(words)).difference(pieces)
        if new and len(pieces) + len(new) > _WORDS_REMEMBERED:
            pieces = self._pieces = {}
            new = set(chain.from_iterable(words))
        texts = list(new)
        encoded = self.backend.encode_batch(texts, add_special_tokens=False)
        pieces.update(zip(texts, (tuple(one.ids) for one in encoded), strict=True))
        ids = [list(chain.from_iterable(map(pieces.__getitem__, some))) for some in words]
        for text in texts:
            if len(text) > _LONGEST_REMEMBERED:
                pieces.pop(text, None)
        return ids

    def _split(self, text: str) -> list[str]:
        """Cut inside every control token, so that no tokenizer rule can recognise it."""
        parts: list[str] = []
        start = 0
        while match := self._control_pattern.search(text, start):
            parts.append(text[start : match.start() + 1])
            start = match.start() + 1
        return [*parts, text[start:]] if parts else [text]


_ENCODERS: "WeakKeyDictionary[Any, tuple[int, TextEncoder]]" = WeakKeyDictionary()


def encoder_of(tokenizer: Tokenizer) -> TextEncoder:
    """Return the encoder of a tokenizer, built once; anew when tokens were added to it since."""
    if isinstance(tokenizer, TextEncoder):
        return tokenizer
    size = len(tokenizer)
    cached = _ENCODERS.get(tokenizer)
    if cached is None or cached[0] != size:
        cached = (size, TextEncoder(tokenizer))
        _ENCODERS[tokenizer] = cached
    return cached[1]


def _remove_dummy_space(state: dict[str, Any]) -> bool:
    """Switch off the leading space in a tokenizer's JSON form; tell whether there was one."""
    found = False
    for node in _nodes(state.get("pre_tokenizer"), "pretokenizers"):
        if node["type"] == "Metaspace":
            found |= node.get("prepend_scheme", "always") != "never"
            node["prepend_scheme"] = "never"
        elif node["type"] == "ByteLevel":
            found |= bool(node["add_prefix_space"])
            node["add_prefix_space"] = False
    for node in _nodes(state.get("normalizer"), "normalizers"):
        if node["type"] == "Prepend":
            found = True
            # An empty prepend is refused by the library, so the node becomes one that does nothing.
            node.clear()
            node.update({"type": "Replace", "pattern": {"String": "\x00"}, "content": "\x00"})
    return found


def _splits_at_spaces(state: dict[str, Any]) -> bool:
    """Return whether the pieces of a text are those of its words, each with the spaces before it.

    So it is with Llama's tokenizer: no piece has a space behind another character, so no merge
    reaches into the next word, and nothing else looks at more than a word.
    """
    model = state["model"]
    if model["type"] != "BPE" or any(SPACE in piece.lstrip(SPACE) for piece in model["vocab"]):
        return False
    splitters = list(_nodes(state.get("pre_tokenizer"), "pretokenizers"))
    normalisers = list(_nodes(state.get("normalizer"), "normalizers"))
    added = [token for token in state["added_tokens"] if not token["special"]]
    return (
        all(node["type"] == "Metaspace" and not node.get("split", True) for node in splitters)
        and all(node["type"] == "Replace" for node in normalisers)
        and not any(
            " " in token["content"] or token["lstrip"] or token["rstrip"] or token["single_word"]
            for token in added
        )
    )


def _check_unicode(text: str) -> None:
    """Refuse half a surrogate pair, which JSON can carry and the tokenizer cannot take."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise DataError(f"text is not valid Unicode near character {error.start}") from None


def _nodes(node: dict[str, Any] | None, children: str) -> Iterator[dict[str, Any]]:
    if node is None:
        return
    if node["type"] == "Sequence":
        for child in node[children]:
            yield from _nodes(child, children)
    else:
        yield node


def _byte_ids(specials: Sequence[dict[str, Any]]) -> frozenset[int]:
    """Ids of byte pieces that a tokenizer declares special: they do come out of plain text."""
    return frozenset(
        token["id"] for token in specials if re.fullmatch(r"<0x[0-9A-F]{2}>", token["content"])
    )
