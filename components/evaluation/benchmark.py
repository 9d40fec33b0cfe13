"""The contract of a benchmark: questions in, parsed answers and scores out.

A benchmark is one file in `benchmarks/` with a `BENCHMARK` object: how its official files are read,
how a question is put (the response-format line included), how an answer is parsed and scored, how
scores are summed. It never sees a model. `get_benchmark` finds it by its file name.
"""

import difflib
import hashlib
import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from components.core.errors import ConfigError

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Question:
    """One question as a target sees it, and what its answer is held against."""

    id: str
    """Unique within the benchmark; answers are joined by it, never by order."""
    benchmark: str
    prompt: str
    """The human turn without the image token, response-format line included."""
    target: Any
    """Label, letter or list of human answers, as JSON."""
    image_path: str | None = None
    """Local file of the image; None with no `image_bytes` either is a text-only question."""
    image_bytes: bytes | None = field(default=None, repr=False)
    """The encoded image itself where the official file carries it (MMBench)."""
    group: str = ""
    """Questions of one group (an image, a set of rotations) are not independent: intervals resample
    groups.
    """
    max_new_tokens: int = 128
    """Greedy decoding stops after so many tokens."""
    meta: dict[str, Any] = field(default_factory=dict)

    @property
    def image_key(self) -> str | None:
        """Equal for questions on the same image; None for text-only questions."""
        if self.image_bytes is not None:
            return "sha256:" + hashlib.sha256(self.image_bytes).hexdigest()
        return self.image_path

    @property
    def cluster(self) -> str:
        return self.group or self.id


@dataclass(frozen=True)
class Judgement:
    """What a judge said about one answer: its replies in the order they came, the last one counts.

    Kept as they are, so that scores can be recomputed without the judge.
    """

    model: str
    """The judge's name as asked for."""
    prompt: str
    """Version of the wording it was asked with."""
    replies: tuple[str, ...] = ()
    error: str = ""
    """Why there is no reply (unreachable, refused); empty where there is one."""
    answered_by: str = ""
    """The name the endpoint gave itself where it is another one."""


@dataclass(frozen=True)
class Prediction:
    """A question with the target's raw output (None where there is none), the parsed answer and its
    score 0..1.
    """

    question: Question
    raw: str | None
    answer: str
    score: float
    judgements: tuple[Judgement, ...] = ()
    """One per run of the judge; empty where no judge was asked."""
    graded: bool = True
    """False where a judge was asked and no reply could be had or read: the score (0) stands for
    nothing and is left out of the headline.
    """


@dataclass(frozen=True)
class Counts:
    """What each cluster adds to the sums a headline is computed from.

    `table` is [clusters, columns]; the headline is a function of the column sums, so that a
    resample is a weighted sum. Clusters of different `strata` are resampled apart (MME: one stratum
    per subtask).
    """

    clusters: tuple[str, ...]
    table: FloatArray
    strata: tuple[str, ...] | None = None


class Benchmark(Protocol):
    """One benchmark; see benchmarks/gqa.py for the shortest example."""

    name: str
    title: str
    folder: str
    """Folder below `eval/` that holds the official files."""
    headline_name: str
    full_maximum: float
    """The largest score on the complete official files; less means that parts are absent."""
    max_new_tokens: int
    published: Mapping[str, float]
    note: str

    def read(self, root: Path) -> list[Question]:
        """Return the questions in the order of the question file.

        Raises DataError for files it cannot use.
        """

    def parse(self, raw: str, question: Question) -> str:
        """Return the answer that the official post-processing makes of the raw output."""

    def score(self, answer: str, question: Question) -> float:
        """Return how right a parsed answer is, 0..1."""

    def count(self, predictions: Sequence[Prediction]) -> Counts:
        """Return the sums behind the headline, by cluster."""

    def headline(self, totals: FloatArray) -> FloatArray:
        """Return the score in the benchmark's own unit for column sums [..., columns]."""

    def maximum(self, totals: FloatArray) -> float:
        """Return the largest score possible with the questions counted in `totals` [columns]."""

    def details(self, predictions: Sequence[Prediction]) -> dict[str, float]:
        """Return the sub-scores."""


@dataclass(frozen=True)
class JudgeRequest:
    """One request to a judge, everything that its reply depends on besides the judge itself."""

    prompt: str
    temperature: float
    max_tokens: int
    system: str = ""
    run: int = 0
    """Tells apart requests that are put several times on purpose."""


@runtime_checkable
class JudgedBenchmark(Benchmark, Protocol):
    """A benchmark whose scores come from a language model; see benchmarks/mm_vet.py.

    Its `score` is the offline proxy's (offline_proxy.py), used where no judge was asked.
    """

    official_judge: str
    """The judge behind the published figures."""

    def prompt_version(self, question: Question) -> str:
        """Return the version of the wording that the judge is asked with."""

    def requests(self, question: Question, raw: str | None) -> tuple[JudgeRequest, ...]:
        """Return what to ask in turn until a reply can be read; nothing where the answer needs no
        judge.
        """

    def readable(self, reply: str) -> bool:
        """Return whether a judge's reply holds a grade by the official rules."""

    def grade(self, judgements: Sequence[Judgement], question: Question) -> float | None:
        """Return the score 0..1 that the judgements give; None when none can be read."""

    def kind(self, prediction: Prediction) -> str | None:
        """Return the label that sub-scores go by."""


def benchmark_names() -> list[str]:
    """Return the names of all benchmarks: the files of the benchmarks folder."""
    from components.evaluation import benchmarks

    return sorted(module.name for module in pkgutil.iter_modules(benchmarks.__path__))


def get_benchmark(name: str) -> Benchmark:
    """Return the benchmark of that name.

    Raises ConfigError with the nearest names when there is none.
    """
    known = benchmark_names()
    if name not in known:
        near = difflib.get_close_matches(name.lower(), known, n=2)
        advice = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(known)}"
        raise ConfigError(f"no benchmark is called {name!r}; {advice}")
    module = importlib.import_module(f"components.evaluation.benchmarks.{name}")
    benchmark: Benchmark = module.BENCHMARK
    return benchmark


def limited(questions: Sequence[Question], limit: int, seed: int) -> list[Question]:
    """Return whole clusters, drawn by seed, until at least `limit` questions are in; 0 returns all.

    Whole clusters, because half an MME pair or half a set of rotations has no score. The order is
    kept.
    """
    if limit == 0 or limit >= len(questions):
        return list(questions)
    sizes: dict[str, int] = {}
    for question in questions:
        sizes[question.cluster] = sizes.get(question.cluster, 0) + 1
    drawn = sorted(sizes, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).hexdigest())
    taken: set[str] = set()
    num_taken = 0
    for name in drawn:
        if num_taken >= limit:
            break
        taken.add(name)
        num_taken += sizes[name]
    return [question for question in questions if question.cluster in taken]
