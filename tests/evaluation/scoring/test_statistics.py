"""Intervals cover what they say they cover, and comparisons call chance chance."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.core.errors import DataError
from components.evaluation.benchmark import Counts, FloatArray
from components.evaluation.scoring.metrics import ratio
from components.evaluation.scoring.statistics import compare, interval, t_quantile


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
    found = interval(counts_of(np.ones(20)), mean_percent)
    assert found.value == found.high == 100.0
    # Wilson at the edge: 1 / (1 + t^2 / n), t = 2.093 for 19 degrees of freedom.
    assert found.low == pytest.approx(100 / (1 + 2.093**2 / 20), abs=0.01)  # 82.0
    nothing = interval(counts_of(np.zeros(20)), mean_percent)
    assert (nothing.low, nothing.high) == (0.0, pytest.approx(100 - found.low))
    # Right answers to five questions on each of the 20 images say no more than that.
    alike = interval(counts_of(np.full(20, 5.0), np.full(20, 5.0)), mean_percent)
    assert (alike.low, alike.high) == (found.low, 100.0)


def test_one_image_says_nothing_of_others() -> None:
    found = interval(counts_of(np.array([3.0]), np.array([4.0])), mean_percent)
    assert (found.low, found.value, found.high) == (0.0, 75.0, 100.0)
    one, other = counts_of(np.array([1.0])), counts_of(np.array([0.0]))
    apart = compare(one, other, mean_percent)
    assert (apart.low, apart.difference, apart.high) == (-100.0, 100.0, 100.0)
    assert apart.p_value > 0.4


def test_a_ratio_above_its_reference_keeps_its_interval() -> None:
    random = np.random.default_rng(2)
    found = interval(counts_of(random.normal(1.2, 0.1, 50)), mean_percent)
    assert found.low < 120 < found.high
    assert found.high - found.low == pytest.approx(2 * 2.01 * 10 / 50**0.5, rel=0.25)


@pytest.mark.parametrize(
    ("freedom", "point"), [(1, 12.7062), (2, 4.3027), (5, 2.5706), (30, 2.0423), (120, 1.9799)]
)
def test_t_quantiles_are_those_of_the_printed_tables(freedom: float, point: float) -> None:
    assert t_quantile(freedom) == pytest.approx(point, abs=5e-5)


def test_t_quantiles_of_broken_degrees_have_all_their_digits() -> None:
    # Inverted with mpmath in 30 digits: near one degree the tail falls slowly.
    assert t_quantile(1.045470401965193) == pytest.approx(11.471882962812144, rel=1e-12)
    assert t_quantile(19.3) == pytest.approx(2.0908242347787667, rel=1e-12)
    assert t_quantile(0.2) == t_quantile(1)
    assert t_quantile(1e7) == pytest.approx(1.95996, abs=1e-5)


def two_subtasks(totals: FloatArray) -> FloatArray:
    """Sum of two accuracies over columns right, asked, right, asked, not looked at."""
    first, second = ratio(totals[..., 0], totals[..., 1]), ratio(totals[..., 2], totals[..., 3])
    return 50 * first + 50 * second


def subtasks(first: int, second: int, ignored: int = 0) -> Counts:
    """`first` and `second` images, every third of them wrong, and some of a subtask that is not
    counted."""
    rows = [[float(n % 3 > 0), 1.0, 0.0, 0.0, 0.0] for n in range(first)]
    rows += [[0.0, 0.0, float(n % 3 > 0), 1.0, 0.0] for n in range(second)]
    rows += [[0.0, 0.0, 0.0, 0.0, 1.0]] * ignored
    names = tuple(map(str, range(len(rows))))
    strata = ("a",) * first + ("b",) * second + ("c",) * ignored
    return Counts(names, np.array(rows), strata)


def test_strata_keep_their_sizes() -> None:
    found = interval(subtasks(60, 60), two_subtasks)
    # Two independent halves: the standard error of half a sum of two means of 60.
    error = 100 * 0.5 * (2 * (2 / 9) / 59) ** 0.5
    assert found.high - found.low == pytest.approx(2 * 1.98 * error, rel=0.06)


def test_images_that_are_not_counted_change_nothing() -> None:
    alone = interval(subtasks(4, 5), two_subtasks)
    beside = interval(subtasks(4, 5, ignored=40), two_subtasks)
    assert beside == alone


def test_subtasks_of_one_image_are_put_together() -> None:
    found = interval(subtasks(1, 12), two_subtasks)
    assert found.low < found.value < found.high
    both = interval(subtasks(1, 1), two_subtasks)
    assert both.high - both.low > 80


@settings(max_examples=60, deadline=None)
@given(
    cells=st.lists(
        st.tuples(st.integers(0, 6), st.integers(1, 6), st.sampled_from("abc")), min_size=1
    )
)
def test_an_interval_holds_its_score_and_stays_on_the_scale(
    cells: list[tuple[int, int, str]],
) -> None:
    table = np.array([[min(right, asked), asked] for right, asked, _ in cells], dtype=float)
    names = tuple(map(str, range(len(cells))))
    for strata in (None, tuple(stratum for _, _, stratum in cells)):
        found = interval(Counts(names, table, strata), mean_percent, 100)
        assert 0.0 <= found.low <= found.value <= found.high <= 100.0
        assert found.high > found.low  # nothing is certain
        apart = compare(
            Counts(names, table, strata), Counts(names, table[::-1], strata), mean_percent, 100
        )
        assert apart.low <= apart.difference <= apart.high
        assert apart.high > apart.low


def test_large_benchmarks_are_resampled_in_blocks() -> None:
    found = interval(counts_of((np.arange(60_000) % 2).astype(float)), mean_percent, samples=150)
    assert found.high - found.low == pytest.approx(0.8, rel=0.3)


def test_comparison_of_equal_answers_finds_nothing_and_still_bounds_what_may_be() -> None:
    scores = counts_of((np.arange(100) % 3 > 0).astype(float))
    same = compare(scores, scores, mean_percent)
    assert (same.difference, same.p_value) == (0.0, 1.0)
    # Of 100 images none differs: up to 3.6% of all images may (Clopper and Pearson).
    assert same.high == -same.low == pytest.approx(100 * (1 - 0.025**0.01))


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
