"""Formulas that several benchmarks share: sums over clusters, ratios that survive empty sums, mean
accuracy.

In: predictions. Out: `Counts` and numbers. It knows no file format.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from components.evaluation.benchmark import Counts, FloatArray, Prediction


def tally(
    entries: Iterable[tuple[str, int, float]],
    num_columns: int,
    strata: dict[str, str] | None = None,
) -> Counts:
    """Return the sums of (cluster, column, amount) entries; clusters keep the order of their first
    entry.
    """
    rows: dict[str, int] = {}
    listed = list(entries)
    for cluster, _, _ in listed:
        rows.setdefault(cluster, len(rows))
    table = np.zeros((len(rows), num_columns))
    for cluster, column, amount in listed:
        table[rows[cluster], column] += amount
    clusters = tuple(rows)
    return Counts(clusters, table, tuple(strata[name] for name in clusters) if strata else None)


def ratio(top: FloatArray, bottom: FloatArray) -> FloatArray:
    """Return top / bottom, and 0 where bottom is 0."""
    top, bottom = np.asarray(top, dtype=np.float64), np.asarray(bottom, dtype=np.float64)
    return np.divide(top, bottom, out=np.zeros(np.broadcast(top, bottom).shape), where=bottom != 0)


def percent_by(
    predictions: Sequence[Prediction], label: Callable[[Prediction], str | None]
) -> dict[str, float]:
    """Return the mean score in percent of each label, labels sorted; predictions labelled None are
    left out.
    """
    groups: dict[str, list[float]] = {}
    for prediction in predictions:
        name = label(prediction)
        if name is not None:
            groups.setdefault(name, []).append(prediction.score)
    return {name: 100.0 * sum(scores) / len(scores) for name, scores in sorted(groups.items())}


def percent_by_meta(predictions: Sequence[Prediction], name: str) -> dict[str, float]:
    """Return the same by a field of the questions' `meta`, each label behind its name."""

    def label(prediction: Prediction) -> str | None:
        value = prediction.question.meta.get(name)
        return f"{name}/{value}" if value else None

    return percent_by(predictions, label)


class MeanAccuracy:
    """The headline of most benchmarks: the mean score of the questions, in percent. Missing answers
    score 0.
    """

    headline_name = "accuracy"
    full_maximum = 100.0

    def count(self, predictions: Sequence[Prediction]) -> Counts:
        return tally(
            (
                entry
                for prediction in predictions
                for entry in (
                    (prediction.question.cluster, 0, prediction.score),
                    (prediction.question.cluster, 1, 1.0),
                )
            ),
            num_columns=2,
        )

    def headline(self, totals: FloatArray) -> FloatArray:
        return 100.0 * ratio(totals[..., 0], totals[..., 1])

    def maximum(self, totals: FloatArray) -> float:
        return 100.0

    def details(self, predictions: Sequence[Prediction]) -> dict[str, float]:
        return {}
