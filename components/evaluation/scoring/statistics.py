"""How sure a score is: bootstrap intervals and paired comparisons, clustered by image or group.

In: `Counts` (sums per cluster) and the function from sums to a percent. Out: intervals and
p-values, the same for the same seed. Questions on one image, or rotations of one question, succeed
and fail together, so whole clusters are resampled, never single questions.

The bootstrap measures the standard error; its percentiles are not the interval's ends. Where two
models disagree on few answers even corrected percentiles (BCa) fail: with 60 questions of which
about three differ they held the true difference in 85% of 300 simulated runs, with 300 of which
about one differs in 55%, as resamples of one changed answer hold little else. So a score gets
Wilson's interval for as many independent questions as have the same standard error (Korn and
Graubard 1998), and a difference gets Student's. tests/evaluation/scoring/test_coverage.py measures
what they cover.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from components.core.errors import DataError
from components.evaluation.benchmark import Counts, FloatArray

LEVEL = 0.95
_TAIL = (1 - LEVEL) / 2
# Weights of at most so many clusters x resamples are in memory at once (8 bytes each).
_BLOCK = 4_000_000
# A variance in squared percent below this is rounding.
_NOTHING = 1e-12

Headline = Callable[[FloatArray], FloatArray]


@dataclass(frozen=True)
class Estimate:
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """A minus B on the same questions, with its 95% interval and the two-sided p-value of `no
    difference`.
    """

    difference: float
    low: float
    high: float
    p_value: float


def interval(counts: Counts, headline: Headline, samples: int = 2000, seed: int = 0) -> Estimate:
    """Return the interval of a headline in percent.

    Where nothing varies (all right, all wrong) each cluster counts as one independent question: 20
    right answers to 20 questions give [82, 100]. One cluster says nothing of others: [0, 100].
    """
    found = _spread(counts, headline, samples, seed)
    value = found.value
    if found.num_clusters == 1:
        return Estimate(value, min(0.0, value), max(100.0, value))
    freedom = float(found.num_clusters - found.num_strata)
    if not 0.0 <= value <= 100.0:  # a ratio to a reference that was beaten is no share of anything
        half = t_quantile(min(freedom, found.freedom)) * math.sqrt(found.variance)
        return Estimate(value, value - half, value + half)
    share = value / 100.0
    size = float(found.num_clusters)
    if found.variance > 0.0 and 0.0 < share < 1.0:
        size = share * (1 - share) / (found.variance / 1e4)
        # Wilson's knows how unsure the variance of right and wrong answers is; where clusters vary
        # more unevenly than that, there is less to rely on.
        uneven = 1 / found.freedom - (1 / (share * (1 - share)) - 4) / (2 * size)
        freedom = 1 / (1 / freedom + max(0.0, uneven))
    t = t_quantile(freedom)
    middle = share + t**2 / (2 * size)
    half = t * math.sqrt(share * (1 - share) / size + t**2 / (4 * size**2))
    low, high = (100.0 * (middle + sign * half) / (1 + t**2 / size) for sign in (-1, 1))
    # Rounding may not push an end past the value or off the scale.
    return Estimate(value, min(max(low, 0.0), value), max(min(high, 100.0), value))


def compare(
    a: Counts, b: Counts, headline: Headline, samples: int = 2000, seed: int = 0
) -> Comparison:
    """Return headline(a) - headline(b) for two sets of predictions on the same questions.

    The interval resamples clusters, both sides together. Where few clusters differ their spread is
    itself unsure, so Student's t has only the degrees of freedom that the kurtosis leaves; where
    none differs, the share that may differ unseen bounds both ends (Clopper and Pearson). The
    p-value is of a permutation test: under `no difference` the two models' answers to a cluster
    could be swapped. Raises DataError when the clusters differ.
    """
    b = _aligned(a, b)
    num_columns = a.table.shape[1]

    def gap(totals: FloatArray) -> FloatArray:
        return headline(totals[..., :num_columns]) - headline(totals[..., num_columns:])

    both = Counts(a.clusters, np.hstack([a.table, b.table]), a.strata)
    found = _spread(both, gap, samples, seed)
    value = found.value
    swapped = np.concatenate(list(_swaps(a, b, headline, samples, seed)))
    # One is added to both counts, so that a finite number of permutations never claims p = 0.
    at_least = int(np.sum(np.abs(swapped) >= abs(value) - 1e-9))
    p_value = (at_least + 1) / (samples + 1)
    if found.num_clusters == 1:
        return Comparison(value, min(-100.0, value), max(100.0, value), p_value)
    half = 100.0 * (1 - _TAIL ** (1 / found.num_clusters))
    if found.variance > 0.0:
        freedom = min(found.freedom, found.num_clusters - found.num_strata)
        half = t_quantile(freedom) * math.sqrt(found.variance)
    return Comparison(value, value - half, value + half, p_value)


def t_quantile(freedom: float) -> float:
    """Return what Student's t stays below with probability 0.975; fewer degrees than 1 are 1."""
    from scipy.special import stdtrit  # `plan` imports this module, and scipy takes 0.3 s

    return float(stdtrit(max(1.0, freedom), 1 - _TAIL))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for being several (Holm 1979): the chance of even one false finding
    among all stays below the level that each is held against.
    """
    order, corrected = np.argsort(p_values), np.empty(len(p_values))
    several = np.arange(len(p_values), 0, -1) * np.sort(p_values)
    corrected[order] = np.minimum(np.maximum.accumulate(several), 1.0)
    return corrected.tolist()


@dataclass(frozen=True)
class _Spread:
    value: float
    variance: float
    """Squared standard error of the value."""
    freedom: float
    """Degrees of freedom that the variance has by the kurtosis of its parts."""
    num_clusters: int
    num_strata: int


def _spread(counts: Counts, headline: Headline, samples: int, seed: int) -> _Spread:
    """Return a headline and how much it varies from resample to resample."""
    if not counts.clusters:
        raise DataError("no questions to score: the benchmark's question file is empty")
    kept = _counting(counts.table, headline)
    table, strata = counts.table[kept], _strata(counts, kept)
    totals = table.sum(axis=0)
    num_strata = int(strata.max()) + 1
    value = float(headline(totals))
    if len(table) == 1:
        return _Spread(value, 0.0, 1.0, 1, 1)
    # The first centre is the value: sums of squares about it lose no digits.
    moments = np.zeros(2)
    for weights in _resamples(strata, samples, seed):
        apart = headline(weights @ table) - value
        moments += apart.sum(), (apart**2).sum()
    variance = (moments[1] - moments[0] ** 2 / samples) / (samples - 1)
    pull = headline(totals - table)
    pull = pull - (np.bincount(strata, pull) / np.bincount(strata))[strata]
    squares = float(np.sum(pull**2))
    excess = float(np.sum(pull**4)) - squares**2 / len(table)
    freedom = 2 * squares**2 / excess if excess > 0 else math.inf
    return _Spread(value, variance if variance > _NOTHING else 0.0, freedom, len(table), num_strata)


def _counting(table: FloatArray, headline: Headline) -> NDArray[np.bool_]:
    """Return which clusters the headline looks at (MME: perception, not cognition)."""
    base = table.sum(axis=0) + 1.0
    columns = headline(base + np.eye(len(base))) != headline(base)
    rows: NDArray[np.bool_] = (table[:, columns] != 0).any(axis=1)
    return rows if rows.any() else np.ones(len(table), dtype=np.bool_)


def _strata(counts: Counts, kept: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the stratum of each kept cluster, 0 upwards.

    Strata of one cluster show no spread of their own: they are put together, a last one with the
    smallest other.
    """
    if counts.strata is None:
        return np.zeros(int(kept.sum()), dtype=np.int64)
    _, strata = np.unique(np.asarray(counts.strata)[kept], return_inverse=True)
    sizes = np.bincount(strata)
    single = np.flatnonzero(sizes == 1)
    if len(single) == 1 and len(sizes) > 1:
        single = np.argsort(sizes, kind="stable")[:2]
    strata[np.isin(strata, single)] = len(sizes)
    result: NDArray[np.int64] = np.unique(strata, return_inverse=True)[1]
    return result


def _blocks(samples: int, num_clusters: int) -> Iterator[int]:
    size = max(1, _BLOCK // max(1, num_clusters))
    for start in range(0, samples, size):
        yield min(size, samples - start)


def _resamples(strata: NDArray[np.int64], samples: int, seed: int) -> Iterator[FloatArray]:
    """Yield weights [resamples, clusters] that sum to the clusters of each stratum.

    Of n clusters n - 1 are drawn and weigh n / (n - 1) each, so that the variance of resamples is
    the variance of the mean and not (n - 1) / n of it (Rao and Wu 1988).
    """
    random = np.random.default_rng(seed)
    members = [np.flatnonzero(strata == stratum) for stratum in range(int(strata.max()) + 1)]
    for size in _blocks(samples, len(strata)):
        weights = np.zeros((size, len(strata)))
        for columns in members:
            count = len(columns)
            drawn = random.integers(count, size=(size, count - 1))
            drawn += np.arange(size)[:, None] * count
            times = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
            weights[:, columns] = times * (count / (count - 1))
        yield weights


def _swaps(
    a: Counts, b: Counts, headline: Headline, samples: int, seed: int
) -> Iterator[FloatArray]:
    random = np.random.default_rng([seed, 1])
    total = a.table.sum(axis=0) + b.table.sum(axis=0)
    for size in _blocks(samples, len(a.clusters)):
        keep = random.integers(2, size=(size, len(a.clusters))).astype(np.float64)
        first = keep @ a.table + (1 - keep) @ b.table
        yield headline(first) - headline(total - first)


def _aligned(a: Counts, b: Counts) -> Counts:
    """Return b with its clusters in the order of a's."""
    if a.clusters == b.clusters:
        return b
    place = {name: row for row, name in enumerate(b.clusters)}
    if set(place) != set(a.clusters):
        missing = sorted(set(a.clusters) ^ set(place))
        raise DataError(
            f"the two sets of predictions are not on the same questions: {len(missing)} images or "
            f"groups are in only one of them, such as {missing[0]!r}; compare runs with the same "
            f"limit and the same files"
        )
    rows = [place[name] for name in a.clusters]
    return Counts(a.clusters, b.table[rows], a.strata)
