"""Segments become token ids and labels; the only place text meets the tokenizer.

In: segments of `conversation.render` and a fast transformers tokenizer. Out: ids in which one
image token stands for each image, and labels that repeat the supervised ids. Labels follow from
the segments, never from counting re-tokenised text (the original's "tokenization mismatch").
Because each segment is encoded on its own, the ids of a prompt are a prefix of the ids of the same
turns with their answers.

For Llama tokenizers the ids equal those of the original (slow SentencePiece, `legacy: false`): a
chunk after BOS or an image starts with SentencePiece's dummy space, a chunk after `</s>` does not.
Segments join only before a space, where no SentencePiece merge reaches across.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any
from weakref import WeakKeyDictionary

from components.core.errors import ConfigError, DataError
from components.data.conversation import Segment

IGNORE_INDEX = -100
"""Label of positions that carry no loss; torch's default for cross entropy."""

SPACE = "\u2581"
"""SentencePiece's letter for a space."""
_WORD = re.compile(" *[^ ]+| +")
_WORDS_REMEMBERED = 200_000
"""Words whose pieces are kept, some 30 MB; with more of them all are forgotten."""
_LONGEST_REMEMBERED = 64

Tokenizer = Any
"""A fast tokenizer of transformers, or its `TextEncoder`; typed loosely, as it has no types."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids and labels of one sample, equally long."""

    input_ids: list[int]
    labels: list[int]

    @property
    def num_supervised(self) -> int:
        return sum(label != IGNORE_INDEX for label in self.labels)


def encode(
    segments: Sequence[Segment],
    tokenizer: Tokenizer,
    image_token_id: int,
    max_tokens: int | None = None,
    patches_per_image: int = 1,
) -> Encoded:
    """Return ids (BOS first, one `image_token_id` per image) and labels of rendered segments.

    `max_tokens` counts positions after expansion, `patches_per_image` for each image: text is cut,
    an image never. Raises DataError when a sample keeps no label, or when a prompt is too long.
    """
    (encoded,) = encode_all([segments], tokenizer, image_token_id, max_tokens, patches_per_image)
    if isinstance(encoded, DataError):
        raise encoded
    return encoded


def encode_all(
    rows: Sequence[Sequence[Segment]],
    tokenizer: Tokenizer,
    image_token_id: int,
    max_tokens: int | None = None,
    patches_per_image: int = 1,
) -> list[Encoded | DataError]:
    """Encode many samples at once; a sample that cannot be encoded is a DataError in its place."""
    encoder = encoder_of(tokenizer)
    texts: list[tuple[str, bool]] = []
    for segments in rows:
        texts += _texts_of(segments)
    pieces = iter(encoder.encode_texts(texts))
    results: list[Encoded | DataError] = []
    for segments in rows:
        encoded = _assemble(segments, pieces, encoder, image_token_id)
        try:
            is_prompt = not (segments and segments[-1].supervised)
            results.append(_cut(encoded, image_token_id, max_tokens, patches_per_image, is_prompt))
        except DataError as error:
            results.append(error)
    return results


def expand_image_tokens(
    input_ids: Sequence[int], labels: Sequence[int], patches: int, image_token_id: int
) -> tuple[list[int], list[int]]:
    """Return ids and labels with each image token repeated `patches` times, unlabelled."""
    ids_out: list[int] = []
    labels_out: list[int] = []
    for token, label in zip(input_ids, labels, strict=True):
        repeats = patches if token == image_token_id else 1
        ids_out += [token] * repeats
        labels_out += [label] * repeats
    return ids_out, labels_out


def control_tokens(tokenizer: Tokenizer) -> list[str]:
    """Return the special tokens' texts, which stay plain text wherever a user writes them."""
    return list(encoder_of(tokenizer).controls)


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


def _texts_of(segments: Sequence[Segment]) -> list[tuple[str, bool]]:
    texts: list[tuple[str, bool]] = []
    fresh = True
    for segment in segments:
        if segment.kind == "text":
            texts.append((segment.text, fresh))
        fresh = segment.kind == "image"
    return texts


def _assemble(
    segments: Sequence[Segment],
    pieces: Iterator[list[int]],
    encoder: TextEncoder,
    image_token_id: int,
) -> Encoded:
    ids: list[int] = [] if encoder.bos_id is None else [encoder.bos_id]
    labels = [IGNORE_INDEX] * len(ids)
    for segment in segments:
        if segment.kind == "text":
            piece = next(pieces)
            assert encoder.control_ids.isdisjoint(piece), (
                f"control id out of plain text {segment.text!r}"
            )
        elif segment.kind == "image":
            piece = [image_token_id]
        else:
            assert encoder.eos_id is not None, "the tokenizer has no end token"
            piece = [encoder.eos_id]
        ids += piece
        labels += piece if segment.supervised else [IGNORE_INDEX] * len(piece)
    return Encoded(ids, labels)


def _cut(
    encoded: Encoded, image_token_id: int, max_tokens: int | None, patches: int, is_prompt: bool
) -> Encoded:
    """Cut text off the end until the expanded sample fits; refuse what makes no sense then."""
    if max_tokens is None:
        return encoded
    num_images = encoded.input_ids.count(image_token_id)
    budget = max_tokens - num_images * (patches - 1)
    if len(encoded.input_ids) <= budget:
        return encoded
    length = len(encoded.input_ids) + num_images * (patches - 1)
    if is_prompt:
        raise DataError(f"the prompt takes {length} positions; the limit is {max_tokens}")
    cut = Encoded(encoded.input_ids[: max(budget, 0)], encoded.labels[: max(budget, 0)])
    if cut.input_ids.count(image_token_id) != num_images:
        raise DataError(
            f"{max_tokens} positions do not hold the image ({patches} patches) and what precedes it"
        )
    if cut.num_supervised == 0:
        raise DataError(f"cut from {length} to {max_tokens} positions, no answer is left to learn")
    return cut
