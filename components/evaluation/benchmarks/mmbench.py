"""MMBench: multiple choice, each question asked once per rotation of its options (CircularEval),
dev split.

    mmbench_dev_20230712.tsv
        columns: index question hint A B C D answer category l2-category source comment image
        1,164 questions and their rotations; rotation k has index + k x 1,000,000; `image` is base64
        (or the index of the row that has it); empty cells read as nan.

Scored as by VLMEvalKit at e8e78f05 without a language model (`exact_matching`): the letter is found
by rules, and a question counts when every rotation is right; a rotation without a letter makes it
wrong. The published figures come from the OpenCompass server, which asks a language model where the
rules find nothing. Prompt as in llava/eval/model_vqa_mmbench.py at c121f04: hint, question,
options, then the letter line.
"""

import base64
import binascii
import csv
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from components.core.errors import DataError
from components.evaluation.benchmark import Counts, Prediction, Question
from components.evaluation.metrics import MeanAccuracy, tally

FORMAT_LINE = "Answer with the option's letter from the given choices directly."
LETTERS = "ABCD"
ROTATION = 1_000_000
UNDECIDED = ""
NO_OPTION = "Z"
# What pandas reads as a missing cell, for it is pandas that reads this file in the original.
_MISSING = frozenset(
    ["", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN",
     "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"]
)  # fmt: skip
_REFUSALS = (
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)
_PUNCTUATION = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))
_ANSWER_IS = re.compile(r"(?:correct\s+)?answer\s+is\s+\**([ABCD])\**", re.IGNORECASE)


class Mmbench(MeanAccuracy):
    name = "mmbench"
    title = "MMBench"
    folder = "mmbench"
    headline_name = "circular accuracy"
    max_new_tokens = 1024  # llava/eval/model_vqa_mmbench.py
    published = {"LLaVA-1.5-7B": 64.3, "LLaVA-1.5-13B": 67.7}  # arXiv 2310.03744 table 4
    note = "letters found by rules alone; the published figures come from the OpenCompass server"

    def read(self, root: Path) -> list[Question]:
        path = root / "mmbench_dev_20230712.tsv"
        rows = list(_rows(path))
        pictures = {row["index"]: row["image"] for row in rows}
        questions = []
        for number, row in enumerate(rows, start=2):
            where = f"{path}:{number}"
            options = _options(row)
            if row["answer"] not in options:
                raise DataError(f"{where}: answer {row['answer']!r} is not among {list(options)}")
            lines = [] if _missing(row["hint"]) else [row["hint"]]
            lines += [row["question"], *(f"{letter}. {text}" for letter, text in options.items())]
            image = row["image"]
            if image in pictures:  # a rotation may point to the row that carries the picture
                image = pictures[image]
            questions.append(
                Question(
                    id=row["index"],
                    benchmark=self.name,
                    prompt="\n".join([*lines, FORMAT_LINE]),
                    target=row["answer"],
                    image_bytes=_decoded(image, where),
                    group=str(int(row["index"]) % ROTATION),
                    max_new_tokens=self.max_new_tokens,
                    meta={
                        "options": options,
                        "category": row.get("category") or "none",
                        "l2-category": row.get("l2-category") or "none",
                    },
                )
            )
        return questions

    def parse(self, raw: str, question: Question) -> str:
        options: dict[str, str] = question.meta["options"]
        return _letter(raw, options) or _option_text(raw, options)

    def score(self, answer: str, question: Question) -> float:
        return float(answer == question.target)

    def count(self, predictions: Sequence[Prediction]) -> Counts:
        def entries() -> Iterator[tuple[str, int, float]]:
            for group, right in _circular(predictions).items():
                yield group, 0, float(right)
                yield group, 1, 1.0

        return tally(entries(), num_columns=2)

    def details(self, predictions: Sequence[Prediction]) -> dict[str, float]:
        right = _circular(predictions)
        details: dict[str, float] = {"questions": float(len(right))}
        for kind in ("l2-category", "category"):
            members: dict[str, set[str]] = {}
            for prediction in predictions:
                question = prediction.question
                members.setdefault(question.meta[kind], set()).add(question.cluster)
            for name, groups in sorted(members.items()):
                share = sum(right[group] for group in groups) / len(groups)
                details[f"{kind}/{name}"] = 100.0 * share
        rows = len(predictions)
        details["single_pass"] = 100.0 * sum(p.score for p in predictions) / rows if rows else 0.0
        details["undecided_rows"] = float(sum(p.answer == UNDECIDED for p in predictions))
        return details


def _circular(predictions: Sequence[Prediction]) -> dict[str, bool]:
    right: dict[str, bool] = {}
    for prediction in predictions:
        group = prediction.question.cluster
        right[group] = right.get(group, True) and prediction.score == 1.0
    return right


def _letter(raw: str, options: dict[str, str]) -> str:
    if "Failed to obtain answer via API" in raw:
        return UNDECIDED
    if any(refusal in raw for refusal in _REFUSALS):
        return NO_OPTION
    words = raw.translate(_PUNCTUATION).split()
    named = [letter for letter in options if letter in words]
    # One letter, and where it first stands is within the last four words ("A" may be an article).
    if len(named) == 1 and words.index(named[0]) > len(words) - 5:
        return named[0]
    if not named and NO_OPTION in words:
        return NO_OPTION
    said = _ANSWER_IS.search(raw)
    letter = said.group(1).upper() if said else UNDECIDED
    return letter if letter in options else UNDECIDED


def _option_text(raw: str, options: dict[str, str]) -> str:
    raw = raw.lower()
    if len(raw) > 2 * sum(len(text) for text in options.values()):
        return UNDECIDED
    contained = [letter for letter, text in options.items() if text.lower() in raw]
    return contained[0] if len(contained) == 1 else UNDECIDED


def _rows(path: Path) -> Iterator[dict[str, str]]:
    csv.field_size_limit(sys.maxsize)  # a cell holds a picture
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, delimiter="\t", restval="")
            needed = {"index", "question", "hint", "A", "B", "answer", "image"}
            absent = needed - set(reader.fieldnames or ())
            if absent:
                raise DataError(f"{path}: no column {', '.join(sorted(absent))}")
            for number, row in enumerate(reader, start=2):
                if not row["index"].isdigit():
                    raise DataError(f"{path}:{number}: index {row['index']!r} is not a number")
                yield row
    except FileNotFoundError:
        raise DataError(f"{path}: file missing") from None


def _missing(cell: str | None) -> bool:
    return cell is None or cell in _MISSING or cell.lower() in ("nan", "none")


def _options(row: dict[str, str]) -> dict[str, str]:
    """Return the options up to the first empty cell, as the original's get_options."""
    options: dict[str, str] = {}
    for letter in LETTERS:
        if _missing(row.get(letter)):
            break
        options[letter] = row[letter]
    return options


def _decoded(image: str, where: str) -> bytes:
    try:
        return base64.b64decode(image, validate=True)
    except binascii.Error as error:
        raise DataError(f"{where}: image is not base64 ({error})") from None


BENCHMARK = Mmbench()
