"""What stands in for a judge where none is configured: word overlap with the reference answer.

In: a judged benchmark whose predictions carry no judgement. Out: a benchmark of the same name that
says in its title, headline and note that it is an offline proxy, and shows no published figure. The
overlap is the F1 of word counts (as SQuAD's evaluation has it: lower case, no punctuation, no
articles), 0 to 1. It knows neither grammar nor meaning; it is good for seeing that the chain works
and for comparing a model with an earlier one of its kind, and for nothing else.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from components.evaluation.benchmark import Benchmark, JudgedBenchmark, Prediction, Question
from components.evaluation.scoring.answers import ARTICLES
from components.evaluation.scoring.metrics import MeanAccuracy, percent_by

_WORD = re.compile(r"\w+")


class OfflineProxy(MeanAccuracy):
    """A judged benchmark without its judge."""

    headline_name = "offline proxy: word F1 with the reference answer"
    published: Mapping[str, float] = {}

    def __init__(self, judged: JudgedBenchmark) -> None:
        self._judged = judged
        self.name = judged.name
        self.title = f"{judged.title} (offline proxy)"
        self.folder = judged.folder
        self.max_new_tokens = judged.max_new_tokens
        self.note = (
            "not judged: no judge is configured; not comparable: offline proxy, "
            "no published figure stands beside it"
        )

    def read(self, root: Path) -> list[Question]:
        return self._judged.read(root)

    def parse(self, raw: str, question: Question) -> str:
        return self._judged.parse(raw, question)

    def score(self, answer: str, question: Question) -> float:
        return self._judged.score(answer, question)

    def details(self, predictions: Sequence[Prediction]) -> dict[str, float]:
        return percent_by(predictions, self._judged.kind)


def scored_as(benchmark: Benchmark, predictions: Sequence[Prediction]) -> Benchmark:
    """Return the benchmark, or its offline proxy where it wants a judge and none was asked."""
    if isinstance(benchmark, JudgedBenchmark) and not any(p.judgements for p in predictions):
        return OfflineProxy(benchmark)
    return benchmark


def word_f1(answer: str, reference: str) -> float:
    """Return the harmonic mean of precision and recall of the words, each as often as it occurs."""
    said, wanted = _words(answer), _words(reference)
    shared = (said & wanted).total()
    return 2.0 * shared / (said.total() + wanted.total()) if shared else 0.0


def _words(text: str) -> Counter[str]:
    return Counter(word for word in _WORD.findall(text.lower()) if word not in ARTICLES)
