"""Upload files for benchmarks whose test answers a server keeps (VQAv2, VizWiz, MMBench, SEED).

In: the official question files and (question id, raw output) pairs in any order. Out: the questions
to ask, and the file that the server takes, answers post-processed as the original's converters do.
Each format stands beside its benchmark, in `SUBMISSIONS`. Nothing is uploaded and nothing scored.
"""

import importlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from components.core.errors import ConfigError, DataError
from components.evaluation.benchmark import Question, benchmark_names, get_benchmark
from components.evaluation.files import field, located_rows

Answer = tuple[str, str | None]
"""Question id and raw output; None where the question could not be put."""


@dataclass(frozen=True)
class Written:
    """What a file for a server holds."""

    path: Path
    num_rows: int
    num_missing: int
    """Questions without an answer, written empty where the server takes that."""
    num_duplicates: int
    """Answers to a question that had one already; the last one is written."""
    num_unknown: int
    """Answers to questions that the server does not ask; left out."""


class Submission(Protocol):
    """One upload to one server."""

    name: str
    benchmark: str
    """Name of the benchmark whose prompts and folder it shares."""
    server: str
    file_name: str
    """Usual name of the written file; its ending is what the server expects."""

    def read(self, root: Path) -> list[Question]:
        """Return the questions to ask; where answers are not public their target is None.

        `root` is the benchmark's folder. Raises DataError for files it cannot use.
        """

    def write(self, root: Path, answers: Iterable[Answer], path: Path) -> Written:
        """Write the server's file, joining answers by id.

        Raises DataError where the server would refuse the file.
        """


def submission_names() -> list[str]:
    """Return the names of all submissions."""
    return sorted(_all())


def get_submission(name: str) -> Submission:
    """Return the submission of that name. Raises ConfigError when there is none."""
    known = _all()
    if name not in known:
        raise ConfigError(
            f"no submission is called {name!r}; there are: {', '.join(submission_names())}"
        )
    return known[name]


def submission_folder(submission: Submission, raw_root: str | Path) -> Path:
    """Return the folder with the submission's question files below a raw folder."""
    return Path(raw_root) / "eval" / get_benchmark(submission.benchmark).folder


def read_unanswered(
    path: Path, benchmark: str, images: Path, max_new_tokens: int
) -> list[Question]:
    """Return the questions of one of the original's files whose answers are not public.

    Images are in the folder `images`; `meta` holds the image's name.
    """
    questions = []
    for where, row in located_rows(path):
        image = str(field(row, "image", where))
        questions.append(
            Question(
                id=str(field(row, "question_id", where)),
                benchmark=benchmark,
                prompt=field(row, "text", where),
                target=None,
                image_path=str(images / image),
                group=image,
                max_new_tokens=max_new_tokens,
                meta={"image": image},
            )
        )
    return questions


@dataclass(frozen=True)
class JoinedAnswers:
    """Raw outputs by id, and what did not fit."""

    raws: Mapping[str, str]
    num_missing: int
    num_duplicates: int
    num_unknown: int

    def written(self, path: Path, num_rows: int) -> Written:
        return Written(path, num_rows, self.num_missing, self.num_duplicates, self.num_unknown)


def joined(
    name: str, ids: Sequence[str], answers: Iterable[Answer], complete: bool
) -> JoinedAnswers:
    """Return answers joined by id, whatever their order; of several the last one counts.

    Raises DataError when not one id is known, when ids repeat in the question file, or, with
    `complete`, when an answer is missing.
    """
    wanted = set(ids)
    if len(wanted) != len(ids):
        raise DataError(f"{name}: {len(ids) - len(wanted)} question ids stand twice in its file")
    raws: dict[str, str] = {}
    num_duplicates = num_unknown = 0
    example = ""
    for key, raw in answers:
        if key not in wanted:
            num_unknown += 1
            example = example or key
        elif raw is not None:
            num_duplicates += key in raws
            raws[key] = raw
    if not raws:
        hint = f" (such as {example!r}; questions are like {ids[0]!r})" if ids and example else ""
        raise DataError(
            f"{name}: none of the answers belongs to its {len(ids):,} questions{hint}; "
            f"ask the questions that this submission reads"
        )
    absent = [key for key in ids if key not in raws]
    if complete and absent:
        raise DataError(
            f"{name}: {len(absent):,} of {len(ids):,} answers are missing, such as {absent[0]!r}; "
            f"its server refuses an incomplete file, so answer them first"
        )
    return JoinedAnswers(raws, len(absent), num_duplicates, num_unknown)


def write_json(path: Path, value: Any) -> None:
    """Write one JSON value, making the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def _all() -> dict[str, Submission]:
    found: dict[str, Submission] = {}
    for name in benchmark_names():
        module = importlib.import_module(f"components.evaluation.benchmarks.{name}")
        found |= {submission.name: submission for submission in getattr(module, "SUBMISSIONS", ())}
    return found
