"""Writes a file like the released `llava_v1_5_mix665k.json`, for measuring at its true size.

In: a number of rows and a seed. Out: one JSON array in the LLaVA format, every source with its
share of rows, turns, prompts and text lengths, rows shuffled over the sources; and a tokenizer that
cuts the text about as Llama's cuts English. The words mean nothing, but their frequencies follow
Zipf's law and they are spelt out of syllables. No image is written. Row counts and format:
haotian-liu/LLaVA issues 657 and 702. Where no source gives a text's length it is chosen so that the
whole file has about the published 1.03 GB.
Run it with `python -m tests.benchmarks.annotations_file OUT.json [--rows N]`.
"""

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from components.data.conversation import VICUNA_SYSTEM
from components.data.response_formats import (
    DESCRIBE_REGION,
    LOCATE_REGION,
    ONE_SENTENCE,
    OPTION_LETTER,
    SHORT_ANSWER,
)
from components.data.sources.boxes import Box, box_to_text

Law = tuple[float, float, int, int]
"""Rounds or words of a text: median and spread of a log-normal law, least and most."""
ONE: Law = (1, 0, 1, 1)


@dataclass(frozen=True, slots=True)
class Kind:
    """A source, or a part of one: how many rows it has and what they are made of."""

    rows: int
    images: str
    """How its images are named (`_image_of`), empty for text alone."""
    question: Law
    answer: Law
    rounds: Law = ONE
    prompt: str = ""
    """What stands behind the first question."""
    rows_per_image: int = 1
    """Rows in a row that show the same image."""


KINDS = {
    # LLaVA-Instruct has 157,712 rows of three kinds, 58 : 23 : 77.
    "conversation": Kind(57_712, "coco2014", (7, 0.3, 3, 20), (22, 0.6, 2, 90), (4.8, 0.35, 1, 12)),
    "detail": Kind(23_000, "coco2014", (6, 0.2, 4, 10), (104, 0.25, 40, 220)),
    "reasoning": Kind(77_000, "coco2014", (10, 0.3, 5, 30), (126, 0.25, 40, 260)),
    "sharegpt": Kind(40_688, "", (24, 1.2, 2, 1_500), (147, 0.9, 2, 1_800), (3.4, 0.8, 1, 40)),
    "vqav2": Kind(
        82_783, "coco2014", (3.5, 0.4, 1, 14), (1.05, 0.3, 1, 5), (5.2, 0.25, 3, 14), SHORT_ANSWER
    ),
    "gqa": Kind(72_140, "gqa", (5, 0.4, 1, 16), ONE, (11.8, 0.45, 1, 45), SHORT_ANSWER),
    "okvqa": Kind(8_998, "coco2014", (5, 0.4, 1, 16), (1.2, 0.4, 1, 5), prompt=SHORT_ANSWER),
    "ocrvqa": Kind(80_000, "ocr_vqa", (3, 0.2, 2, 6), (3, 0.9, 1, 25), (5, 0, 5, 5), SHORT_ANSWER),
    "aokvqa": Kind(66_160, "coco2017", (6, 0.3, 3, 16), (1.4, 0.4, 1, 5), rows_per_image=4),
    "textcaps": Kind(21_953, "textvqa", (0, 0, 0, 0), (12, 0.3, 6, 35), prompt=ONE_SENTENCE),
    "refcoco": Kind(48_447, "coco2014", ONE, (4, 0.6, 1, 20), (7.5, 0.5, 1, 9), rows_per_image=2),
    "visual_genome": Kind(86_417, "vg", ONE, (5, 0.35, 1, 14), (10, 0, 10, 10)),
}
"""Rows are those of the released file (maintainer, haotian-liu/LLaVA issue 702)."""
NUM_ROWS = sum(kind.rows for kind in KINDS.values())
COCO_IMAGES = {"coco2017": 118_287, "coco2014": 82_783}
"""Images of COCO train2017, and those of train2014 among them, all of which VQAv2 asks about."""

NUM_WORDS = 60_000
WORDS_OF_TEXT = 1 << 20
TRAINING_ROWS = 12_000
_TABLE = 4_096
_OPENINGS = (
    *("What is the", "What color is the", "What kind of", "Is the", "Are there any", "How many"),
    *("Where is the", "Who is", "Which side is the", "Does the", "What might be the", "Why is the"),
)
_LEARN_WHOLE = f"{VICUNA_SYSTEM} US US (US)(ER) (A)(SS)(IST)(ANT) (Answer)(Provide)"
"""Llama's tokenizer has these words whole, and cuts "USER" and "ASSISTANT" like this."""
_NEWLINE = "\\n"
_HUMAN, _GPT = '{"from": "human", "value": "', '{"from": "gpt", "value": "'


def main() -> None:
    """Write the file and print its size and the seconds it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--rows", type=int, default=NUM_ROWS)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    start = time.perf_counter()
    write_annotations(options.path, options.rows, options.seed)
    size = options.path.stat().st_size
    Console(width=100).print(
        f"{options.path}: {options.rows:,} rows, {size / 1e9:.3f} GB, "
        f"{size / options.rows:,.0f} bytes a row, in {time.perf_counter() - start:.1f} s"
    )


def write_annotations(path: Path, num_rows: int = NUM_ROWS, seed: int = 0) -> None:
    """Write the array, a pure function of rows and seed; holds a thousand rows at a time."""
    rows = annotation_rows(num_rows, seed)
    with path.open("w", encoding="ascii") as file:
        file.write("[" + next(rows, ""))
        while chunk := list(islice(rows, 1_000)):
            file.write(", " + ", ".join(chunk))
        file.write("]")


def annotation_rows(num_rows: int = NUM_ROWS, seed: int = 0) -> Iterator[str]:
    """Yield the JSON text of each row; with fewer rows every source keeps its share."""
    author = _Author(seed, num_rows / NUM_ROWS)
    names = list(KINDS)
    ends = [round(end * num_rows / NUM_ROWS) for end in accumulate(k.rows for k in KINDS.values())]
    order = np.repeat(np.arange(len(names)), np.diff(ends, prepend=0)).astype(np.int8)
    np.random.default_rng((seed, 1)).shuffle(order)
    numbers = [0] * len(names)
    for place in order:
        yield author.row(names[place], numbers[place])
        numbers[place] += 1


def build_tokenizer(vocab_size: int = 32_000, seed: int = 0) -> Any:
    """Return a fast tokenizer built like Llama's, its pieces learnt from such rows.

    Specials are <unk> <s> </s>, unknown characters become bytes, digits and punctuation stay alone,
    text gets a leading space. The same arguments give the same pieces.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    specials = ["<unk>", "<s>", "</s>"]
    learner = Tokenizer(models.BPE())
    parts = [
        pre_tokenizers.Split(Regex(r"\d"), "isolated"),
        pre_tokenizers.Metaspace(prepend_scheme="first", split=True),
        pre_tokenizers.Split(Regex("\u2581?[!-/:-@\\[-`{-~]"), "isolated"),
    ]
    learner.pre_tokenizer = pre_tokenizers.Sequence(parts)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=specials + [f"<0x{value:02X}>" for value in range(256)],
        initial_alphabet=[chr(code) for code in range(33, 127)],
        show_progress=False,
    )
    learner.train_from_iterator(_training_texts(seed), trainer)
    learnt = json.loads(learner.to_str())["model"]
    merges = [(left, right) for left, right in learnt["merges"]]
    backend = Tokenizer(
        models.BPE(learnt["vocab"], merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True)
    )
    # No piece has a space but in front, so Llama's own setting gives the pieces learnt.
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    backend.add_special_tokens(
        [AddedToken(text, normalized=False, special=True) for text in specials]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


class _Author:
    """Writes rows; all texts are ASCII that JSON takes as it is, line ends already escaped."""

    def __init__(self, seed: int, share: float) -> None:
        random = np.random.default_rng((seed, 2))
        words = _vocabulary(random)
        self._prose = _Text(words, 1.0, random, punctuated=True)
        self._phrases = _Text(words, 1.1, random, punctuated=False)
        self._draw = _integers(seed).__next__
        corners = np.sort(random.random((_TABLE, 2, 2)), axis=1).reshape(_TABLE, 4).tolist()
        self._boxes = [box_to_text(Box(*corner)) for corner in corners]
        self._num_coco = {n: max(1, round(count * share)) for n, count in COCO_IMAGES.items()}
        laws = {law for kind in KINDS.values() for law in (kind.question, kind.answer, kind.rounds)}
        self._lengths = {law: _lengths(law, random) for law in sorted(laws)}

    def row(self, name: str, number: int) -> str:
        """Return the row of this number of a kind."""
        kind = KINDS[name]
        texts = self._regions(kind) if name in ("refcoco", "visual_genome") else self._talk(kind)
        if name == "aokvqa":
            options = [f"{letter}. {self._text(kind.answer)}" for letter in "ABCD"]
            texts = [_NEWLINE.join((texts[0], *options, OPTION_LETTER)), "ABCD"[self._draw() & 3]]
        image = self._image_of(kind.images, number // kind.rows_per_image)
        if image:
            first = self._draw() & 3
            texts[0] = f"<image>{_NEWLINE}{texts[0]}" if first else f"{texts[0]}{_NEWLINE}<image>"
        about = f'"image": "{image}"' if image else '"model": ""'
        row_id = image.rsplit("/", 1)[-1].removesuffix(".jpg") or f"{number * 7_919:07x}_0"
        turns = [f'{_GPT if place & 1 else _HUMAN}{text}"}}' for place, text in enumerate(texts)]
        return f'{{"id": "{row_id}", {about}, "conversations": [{", ".join(turns)}]}}'

    def _talk(self, kind: Kind) -> list[str]:
        texts = []
        for _ in range(self._length(kind.rounds)):
            asked = self._text(kind.question)
            if asked and kind.images:
                asked = f"{_OPENINGS[self._draw() % len(_OPENINGS)]} {asked}?"
            texts += [asked, self._text(kind.answer)]
        if kind.prompt:
            texts[0] = _NEWLINE.join(filter(None, (texts[0], kind.prompt)))
        return texts

    def _regions(self, kind: Kind) -> list[str]:
        texts = []
        for _ in range(self._length(kind.rounds)):
            phrase, box = self._text(kind.answer), self._boxes[self._draw() % _TABLE]
            if self._draw() & 1:
                texts += [f"{DESCRIBE_REGION}: {box}", phrase]
            else:
                texts += [f"{LOCATE_REGION}: {phrase}", box]
        return texts

    def _image_of(self, images: str, number: int) -> str:
        """Return the path of an image; names are spread out, as those of the data sets are."""
        if images in COCO_IMAGES:
            # A stride, so that few rows reach the images that are not of train2014 too.
            number = number * (7 if images == "coco2017" else 1) % self._num_coco[images]
            return f"coco/train2017/{1 + number * 48_271 % 581_921:012d}.jpg"
        if images == "vg":
            return f"vg/VG_100K{'_2' * (number & 1)}/{1 + number * 27 % 2_417_989}.jpg"
        if images == "gqa":
            return f"gqa/images/{2_300_000 + number * 7 % 150_001}.jpg"
        if images == "textvqa":
            return f"textvqa/train_images/{number * 0x9E3779B97F4A7C15 % 2**64:016x}.jpg"
        return f"ocr_vqa/images/{number * 60_013 % 2_000_000_011:010d}.jpg" if images else ""

    def _length(self, law: Law) -> int:
        return self._lengths[law][self._draw() % _TABLE]

    def _text(self, law: Law) -> str:
        """Prose where the law is one of long texts, else a phrase."""
        count = self._length(law)
        if law[0] > 10:
            return self._prose.sentences(self._draw(), count)
        return self._phrases.words(self._draw(), count) if count else ""


class _Text:
    """A long text out of which pieces are cut; a place is any number."""

    def __init__(
        self, words: list[str], exponent: float, random: np.random.Generator, punctuated: bool
    ) -> None:
        weights = (np.arange(len(words)) + 2.7) ** -exponent
        picked = random.choice(len(words), WORDS_OF_TEXT, p=weights / weights.sum()).tolist()
        chances = random.random(WORDS_OF_TEXT) if punctuated else np.ones(WORDS_OF_TEXT)
        marks = np.searchsorted((0.065, 0.135), chances).tolist()
        pieces, before = [], 0
        for word, mark in zip(picked, marks, strict=True):
            text = words[word] if before or not punctuated else words[word].capitalize()
            pieces.append(text + (".", ",", "")[mark])
            before = mark
        self._text = " ".join(pieces)
        self._starts = [0, *accumulate(len(piece) + 1 for piece in pieces)]

    def words(self, place: int, count: int) -> str:
        """Return so many words."""
        first = place % (WORDS_OF_TEXT - count)
        return self._text[self._starts[first] : self._starts[first + count] - 1]

    def sentences(self, place: int, count: int) -> str:
        """Return so many words in paragraphs of some sentences."""
        if count > 90:
            rest = self.sentences(place + 60, count - 60)
            return f"{self.sentences(place, 60)}{_NEWLINE * 2}{rest}"
        text = self.words(place, count)
        return f"{text[0].upper()}{text[1:].rstrip('.,')}."


def _lengths(law: Law, random: np.random.Generator) -> list[int]:
    median, spread, least, most = law
    drawn = median * random.lognormal(0, spread, _TABLE)
    lengths: list[int] = drawn.clip(least, most).round().astype(int).tolist()
    return lengths


def _integers(seed: int) -> Iterator[int]:
    random = np.random.default_rng((seed, 3))
    while True:
        yield from random.integers(0, 1 << 40, 1 << 14).tolist()


def _vocabulary(random: np.random.Generator) -> list[str]:
    """Distinct words, frequent ones first; those tend to be short."""
    onsets = [*"bcdfghjklmnprstvw", "", "", "st", "tr", "sh", "th"]
    rimes = [v + end for v in "aeiou" for end in ("", "", "", "n", "r", "s", "t", "l", "nd")]
    words: dict[str, None] = {}
    while len(words) < NUM_WORDS:
        syllables = 1 + random.poisson(0.1 + 0.45 * np.log10(1 + len(words) / 20))
        parts = zip(
            random.integers(0, len(onsets), syllables).tolist(),
            random.integers(0, len(rimes), syllables).tolist(),
            strict=True,
        )
        words["".join(onsets[onset] + rimes[rime] for onset, rime in parts)] = None
    return list(words)


def _training_texts(seed: int) -> Iterator[str]:
    yield from [_LEARN_WHOLE] * 500
    for row in annotation_rows(TRAINING_ROWS, seed):
        for turn in json.loads(row)["conversations"]:
            yield turn["value"].replace("\n", " ")


if __name__ == "__main__":
    main()
