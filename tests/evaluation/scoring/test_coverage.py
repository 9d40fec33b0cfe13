"""A 95% interval holds the truth in 93 to 97% of simulated runs, wherever benchmarks differ.

Each case draws 1,000 evaluations of a model whose true score is known by construction. With so many
runs a coverage is measured to 0.7 points, and the seeds are fixed.
"""

from collections.abc import Callable

import numpy as np
import pytest

from components.evaluation.benchmark import Counts, FloatArray
from components.evaluation.benchmarks.mme import BENCHMARK as MME
from components.evaluation.benchmarks.pope import BENCHMARK as POPE
from components.evaluation.scoring.statistics import compare, interval

pytestmark = pytest.mark.slow

NUM_RUNS = 1000
RESAMPLES = 200  # each interval's own noise is 5% of its width

Random = np.random.Generator
Draw = Callable[[Random], Counts]


def mean_percent(totals: FloatArray) -> FloatArray:
    return 100.0 * totals[..., 0] / totals[..., 1]


def mme_percent(totals: FloatArray) -> FloatArray:
    return 100.0 * MME.headline(totals) / MME.maximum(np.atleast_2d(totals)[0])


def named(table: FloatArray, strata: tuple[str, ...] | None = None) -> Counts:
    return Counts(tuple(map(str, range(len(table)))), table, strata)


def eases(random: Random, truth: float, alike: float, size: int) -> FloatArray:
    """Chances of success by image; answers to one image correlate by `alike`."""
    if alike == 0:
        return np.full(size, truth)
    spread = (1 - alike) / alike
    return random.beta(truth * spread, (1 - truth) * spread, size=size)


def accuracy(images: int, truth: float, alike: float, most: int, even: bool = True) -> Draw:
    def draw(random: Random) -> Counts:
        sizes = np.full(images, most) if even else random.integers(1, most + 1, size=images)
        right = random.binomial(sizes, eases(random, truth, alike, images))
        return named(np.stack([right, sizes], axis=1).astype(float))

    return draw


# POPE: three present objects asked in every split, three absent ones drawn by split.
RECALL, FALSE_ALARMS = 0.85, (0.08, 0.12, 0.16)
F1_TRUTH = 100 * float(np.mean([2 * RECALL / (2 * RECALL + f + 1 - RECALL) for f in FALSE_ALARMS]))


def pope(images: int) -> Draw:
    def draw(random: Random) -> Counts:
        table = np.zeros((images, 12))
        found = random.binomial(3, eases(random, RECALL, 0.2, images))
        for split, rate in enumerate(FALSE_ALARMS):
            alarms = random.binomial(3, eases(random, rate, 0.2, images))
            table[:, 4 * split : 4 * split + 4] = np.stack(
                [found, alarms, 3 - found, 3 - alarms], axis=1
            )
        return named(table)

    return draw


# MME: two questions per image; accuracy and accuracy+ by subtask, cognition not in the headline.
MME_RIGHT = np.linspace(0.6, 0.9, 10)
MME_ALIKE = 0.3


def mme_truth(subtasks: int) -> float:
    right = MME_RIGHT[:subtasks]
    return 100 * float(np.mean(right + right**2 + MME_ALIKE * right * (1 - right))) / 2


def mme(subtasks: int, images: int) -> Draw:
    def draw(random: Random) -> Counts:
        table = np.zeros(((subtasks + 2) * images, 56))
        for place in range(subtasks + 2):
            column = 4 * (place if place < subtasks else 10 + place - subtasks)
            ease = MME_RIGHT[place] if place < subtasks else 0.5
            right = random.binomial(2, eases(random, ease, MME_ALIKE, images))
            rows = slice(place * images, (place + 1) * images)
            table[rows, column : column + 4] = np.stack(
                [right, np.full(images, 2), right == 2, np.ones(images)], axis=1
            )
        return named(table, tuple(np.repeat(np.arange(subtasks + 2).astype(str), images)))

    return draw


@pytest.mark.parametrize(
    ("draw", "headline", "truth"),
    [
        pytest.param(accuracy(300, 0.9, 0, 1), mean_percent, 90, id="independent"),
        pytest.param(accuracy(60, 0.6, 0, 1), mean_percent, 60, id="few independent"),
        pytest.param(accuracy(20, 0.9, 0, 1), mean_percent, 90, id="twenty questions"),
        pytest.param(accuracy(60, 0.9, 0.3, 5), mean_percent, 90, id="five per image"),
        pytest.param(accuracy(120, 0.85, 0.2, 4, False), mean_percent, 85, id="uneven images"),
        pytest.param(pope(60), POPE.headline, F1_TRUTH, id="F1 of three splits"),
        pytest.param(mme(5, 25), mme_percent, mme_truth(5), id="MME of the tiny recipe"),
        pytest.param(mme(8, 10), mme_percent, mme_truth(8), id="MME with few images"),
    ],
)
def test_intervals_of_scores(
    draw: Draw, headline: Callable[[FloatArray], FloatArray], truth: float
) -> None:
    random, hits = np.random.default_rng(11), 0
    for run in range(NUM_RUNS):
        found = interval(draw(random), headline, RESAMPLES, run)
        hits += found.low <= truth <= found.high
    assert 0.93 <= hits / NUM_RUNS <= 0.97


@pytest.mark.parametrize(
    ("images", "questions", "right", "redone", "right_again"),
    [
        pytest.param(60, 5, 0.9, 0.2, 0.8, id="two alike models"),
        pytest.param(300, 1, 0.9, 0.2, 0.8, id="two alike models, independent questions"),
        pytest.param(60, 5, 0.9, 1.0, 0.25, id="blind control"),
        pytest.param(60, 1, 0.5, 0.3, 0.4, id="few questions"),
    ],
)
def test_intervals_of_paired_differences(
    images: int, questions: int, right: float, redone: float, right_again: float
) -> None:
    truth, hits = 100 * redone * (right - right_again), 0
    for run, (a, b) in enumerate(pairs(images, questions, right, redone, right_again)):
        found = compare(a, b, mean_percent, RESAMPLES, run)
        hits += found.low <= truth <= found.high
    assert 0.93 <= hits / NUM_RUNS <= 0.97


def test_few_changed_answers_are_never_held_for_certain() -> None:
    """Of 60 questions three change on average; percentiles of resamples held 85% here."""
    hits = 0
    for run, (a, b) in enumerate(pairs(60, 1, 0.9, 0.2, 0.8)):
        found = compare(a, b, mean_percent, RESAMPLES, run)
        hits += found.low <= 2.0 <= found.high
    assert hits / NUM_RUNS >= 0.95


def pairs(
    images: int, questions: int, right: float, redone: float, right_again: float
) -> list[tuple[Counts, Counts]]:
    """Answers of A, and of B that answers a share `redone` of the questions anew."""
    random = np.random.default_rng(12)
    alike = 0.3 if questions > 1 else 0.0
    shape = (NUM_RUNS, images, questions)
    first = eases(random, right, alike, NUM_RUNS * images).reshape(NUM_RUNS, images, 1)
    again = eases(random, right_again, alike, NUM_RUNS * images).reshape(first.shape)
    a = random.random(shape) < first
    b = np.where(random.random(shape) < redone, random.random(shape) < again, a)
    asked = np.full((images, 1), float(questions))
    return [
        tuple(named(np.hstack([side[run].sum(axis=1, keepdims=True), asked])) for side in (a, b))
        for run in range(NUM_RUNS)
    ]
