"""Intervals cover what they say they cover, and comparisons call chance chance."""

import numpy as np
import pytest

from components.core.errors import DataError
from components.evaluation.benchmark import Counts, FloatArray
from components.evaluation.statistics import compare, interval


def mean_percent(totals: FloatArray) -> FloatArray:
    return 100.0 * totals[..., 0] / totals[..., 1]


def counts_of(scores: FloatArray, sizes: FloatArray | None = None) -> Counts:
    """Clusters whose score sums are given, of one question each unless `sizes` says more."""
    sizes = np.ones_like(scores) if sizes is None else sizes
    names = tuple(str(number) for number in range(len(scores)))
    return Counts(names, np.stack([scores, sizes], axis=1))


def test_interval_is_the_same_for_the_same_seed_and_holds_the_score() -> None:
    counts = counts_of((np.arange(200) % 4 > 0).astype(float))
    first = interval(counts, mean_percent, seed=3)
    assert first == interval(counts, mean_percent, seed=3)
    assert first.value == 75.0
    assert first.low < 75.0 < first.high
    # Normal theory: 1.96 * sqrt(.75 * .25 / 200) = 6.0 points.
    assert first.high - first.low == pytest.approx(12.0, rel=0.15)


def test_clusters_that_answer_alike_widen_the_interval() -> None:
    right = (np.arange(50) % 4 > 0).astype(float)
    alone = interval(counts_of(np.repeat(right, 4)), mean_percent)
    together = interval(counts_of(4 * right, np.full(50, 4.0)), mean_percent)
    assert together.value == alone.value
    # Four answers that always agree are worth one: twice the width.
    ratio = (together.high - together.low) / (alone.high - alone.low)
    assert ratio == pytest.approx(2.0, rel=0.1)


def test_a_perfect_score_is_not_certain() -> None:
    found = interval(counts_of(np.ones(30)), mean_percent)
    assert found.high == 100.0
    assert found.low == pytest.approx(100 * 0.025 ** (1 / 30))  # 88.4, as Clopper and Pearson
    nothing = interval(counts_of(np.zeros(30)), mean_percent)
    assert (nothing.low, nothing.high) == (0.0, pytest.approx(11.6, abs=0.1))


def test_strata_keep_their_sizes() -> None:
    def share_of_first(totals: FloatArray) -> FloatArray:
        return 100.0 * totals[..., 0] / totals.sum(axis=-1)

    table = np.array([[1.0, 0.0]] * 5 + [[0.0, 1.0]] * 15)
    names = tuple(map(str, range(20)))
    strata = ("a",) * 5 + ("b",) * 15
    fixed = interval(Counts(names, table, strata), share_of_first)
    assert (fixed.low, fixed.high) == (25.0, 25.0)
    assert interval(Counts(names, table), share_of_first).low < 25.0


def test_large_benchmarks_are_resampled_in_blocks() -> None:
    found = interval(counts_of((np.arange(60_000) % 2).astype(float)), mean_percent, samples=150)
    assert found.high - found.low == pytest.approx(0.8, rel=0.3)


@pytest.mark.parametrize("truth", [0.6, 0.85])
def test_coverage_is_about_95_percent(truth: float) -> None:
    random = np.random.default_rng(7)
    num_runs, hits = 600, 0
    for run in range(num_runs):
        # Clusters of one to four questions on one picture that tend to fail together.
        sizes = random.integers(1, 5, size=120).astype(float)
        ease = random.beta(4 * truth, 4 * (1 - truth), size=120)
        scores = random.binomial(sizes.astype(int), ease).astype(float)
        found = interval(counts_of(scores, sizes), mean_percent, samples=400, seed=run)
        hits += found.low <= 100 * truth <= found.high
    # 93 to 97% is wanted; 600 runs measure to about one point.
    assert 0.93 <= hits / num_runs <= 0.97


def test_comparison_of_equal_models_finds_nothing() -> None:
    scores = counts_of((np.arange(100) % 3 > 0).astype(float))
    same = compare(scores, scores, mean_percent)
    assert (same.difference, same.low, same.high, same.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_comparison_finds_a_real_difference_that_intervals_alone_would_hide() -> None:
    random = np.random.default_rng(0)
    a = (random.random(300) < 0.7).astype(float)
    b = a.copy()
    b[np.flatnonzero(a)[:15]] = 0.0  # the same questions, fifteen of them lost
    found = compare(counts_of(a), counts_of(b), mean_percent)
    assert found.difference == pytest.approx(5.0)
    assert 0 < found.low < 5 < found.high
    assert found.p_value < 0.01
    assert (
        interval(counts_of(b), mean_percent).high > interval(counts_of(a), mean_percent).low
    )  # the single intervals overlap


def test_p_values_are_uniform_when_nothing_differs() -> None:
    random = np.random.default_rng(5)
    small = 0
    for run in range(400):
        a, b = (random.random((2, 60)) < 0.7).astype(float)
        small += compare(counts_of(a), counts_of(b), mean_percent, 200, run).p_value <= 0.05
    assert small / 400 < 0.075  # discrete scores make it smaller than 0.05, never much larger


def test_comparison_aligns_clusters_by_name() -> None:
    a = Counts(("x", "y"), np.array([[1.0, 1.0], [0.0, 1.0]]))
    b = Counts(("y", "x"), np.array([[0.0, 1.0], [1.0, 1.0]]))
    assert compare(a, b, mean_percent).p_value == 1.0
    with pytest.raises(DataError, match="not on the same questions"):
        compare(a, Counts(("x", "z"), a.table), mean_percent)


def test_nothing_to_score_is_said() -> None:
    with pytest.raises(DataError, match="no questions"):
        interval(Counts((), np.zeros((0, 2))), mean_percent)
