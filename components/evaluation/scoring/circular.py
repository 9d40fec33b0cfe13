"""CircularEval: choices asked once per rotation of their options (MMBench, MMBench-CN).

In: a table (tab-separated, images inside) and answers. Out: questions, letters found by rules,
and the share of questions whose every rotation is right. What differs between the benchmarks (file
names, the response-format line, published figures) is in their own files.

Letters as VLMEvalKit at e8e78f05 finds them without a language model (`exact_matching`): by the
rules below, and a rotation without a letter makes its question wrong. Prompt as in
llava/eval/model_vqa_mmbench.py at c121f04: hint, question, options, then the response-format line.
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
from components.evaluation.scoring.metrics import MeanAccuracy, tally

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


class CircularChoice(MeanAccuracy):
    """A benchmark of choices asked once per rotation; a subclass names its table and its line."""

    name: str
    table: str
    """File name of the table with the public answers."""
    format_line: str
    """Response-format line, the last of each prompt."""
    headline_name = "circular accuracy"
    max_new_tokens = 1024  # llava/eval/model_vqa_mmbench.py
    note = "letters found by rules alone; the published figures come from the OpenCompass server"

    def read(self, root: Path) -> list[Question]:
        return self.read_table(root / self.table)

    def read_table(self, path: Path, answered: bool = True) -> list[Question]:
        """Return the questions of any split's table; `answered=False` reads one without the column
        `answer` (their target is None).
        """
        rows = list(table_rows(path, ("answer",) if answered else ()))
        images = {row["index"]: row["image"] for row in rows}
        questions = []
        for number, row in enumerate(rows, start=2):
            where = f"{path}:{number}"
            options = _options(row)
            if answered and row["answer"] not in options:
                raise DataError(f"{where}: answer {row['answer']!r} is not among {list(options)}")
            lines = [] if missing_cell(row["hint"]) else [row["hint"]]
            lines += [row["question"], *(f"{letter}. {text}" for letter, text in options.items())]
            image = row["image"]
            if image in images:  # a rotation may point to the row that carries the image
                image = images[image]
            questions.append(
                Question(
                    id=row["index"],
                    benchmark=self.name,
                    prompt="\n".join([*lines, self.format_line]),
                    target=row["answer"] if answered else None,
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


def table_rows(path: Path, also_needed: Sequence[str] = ()) -> Iterator[dict[str, str]]:
    """Yield the rows of a table, cells as text. Raises DataError where columns are absent."""
    csv.field_size_limit(sys.maxsize)  # a cell holds an image
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file, delimiter="\t", restval="")
            needed = {"index", "question", "hint", "A", "B", "image", *also_needed}
            absent = needed - set(reader.fieldnames or ())
            if absent:
                raise DataError(f"{path}: no column {', '.join(sorted(absent))}")
            for number, row in enumerate(reader, start=2):
                if not row["index"].isdigit():
                    raise DataError(f"{path}:{number}: index {row['index']!r} is not a number")
                yield row
    except FileNotFoundError:
        raise DataError(f"{path}: file missing") from None


def missing_cell(cell: str | None) -> bool:
    """Return whether the original takes a cell for absent."""
    return cell is None or cell in _MISSING or cell.lower() in ("nan", "none")


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


def _options(row: dict[str, str]) -> dict[str, str]:
    """Return the options up to the first empty cell, as the original's get_options."""
    options: dict[str, str] = {}
    for letter in LETTERS:
        if missing_cell(row.get(letter)):
            break
        options[letter] = row[letter]
    return options


def _decoded(image: str, where: str) -> bytes:
    try:
        return base64.b64decode(image, validate=True)
    except binascii.Error as error:
        raise DataError(f"{where}: image is not base64 ({error})") from None
