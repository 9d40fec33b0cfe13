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

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from components.core.errors import DataError
from components.data.conversation import Segment
from components.data.text_encoder import TextEncoder, encoder_of
from components.data.text_encoder import Tokenizer as Tokenizer

IGNORE_INDEX = -100
"""Label of positions that carry no loss; torch's default for cross entropy."""


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
