"""The grocery check: JSON or nothing, and only the fruit of the image."""

import json

import pytest

from components.evaluation.benchmark import Question
from components.evaluation.benchmarks.grocery import BENCHMARK
from components.evaluation.scoring.score import predict, summarise

APPLE = {"name": "apple", "nutrition": {"calories": 52}}
PEAR = {"name": "pear", "nutrition": {"calories": 57}}
BREAD = {"name": "bread", "nutrition": {}}
META = {"objects": [APPLE, PEAR], "fruit": ["apple", "pear"]}


def asked(*shown: str) -> Question:
    return Question("q", "grocery", "?", list(shown), meta=META)


@pytest.mark.parametrize(
    ("raw", "shown", "score", "exact"),
    [
        (json.dumps([APPLE, PEAR]), ("apple", "pear"), 1.0, 100.0),
        (json.dumps([PEAR, APPLE]), ("apple", "pear"), 1.0, 100.0),
        (json.dumps([APPLE]), ("apple", "pear"), 1.0, 0.0),
        (json.dumps(APPLE), ("apple",), 1.0, 100.0),
        ('[{"name": " Apple "}]', ("apple",), 1.0, 100.0),
        (json.dumps([APPLE, BREAD]), ("apple",), 0.0, 0.0),
        (json.dumps([PEAR]), ("apple",), 0.0, 0.0),  # a fruit that is not there
        ("[]", ("apple",), 0.0, 0.0),
        ("[]", (), 1.0, 100.0),
        ("apple", ("apple",), 0.0, 0.0),
        ('["apple"]', ("apple",), 0.0, 0.0),
        ('[{"fruit": "apple"}]', ("apple",), 0.0, 0.0),
        ('[{"name": "apple"}', ("apple",), 0.0, 0.0),  # cut off
        ("", (), 0.0, 0.0),
    ],
)
def test_scores(raw: str, shown: tuple[str, ...], score: float, exact: float) -> None:
    (prediction,) = predict(BENCHMARK, [asked(*shown)], {"q": raw})
    assert prediction.score == score
    assert BENCHMARK.details([prediction])["exact"] == exact


def test_nutrition_must_be_the_tables() -> None:
    right = predict(BENCHMARK, [asked("apple")], {"q": json.dumps([APPLE])})
    wrong = predict(BENCHMARK, [asked("apple")], {"q": '[{"name": "apple", "nutrition": {}}]'})
    assert summarise(BENCHMARK, right).details["nutrition"] == 100.0
    assert summarise(BENCHMARK, wrong).details["nutrition"] == 0.0


@pytest.mark.parametrize(("named", "share"), [([PEAR], 100.0), ([APPLE, BREAD], 0.0)])
def test_fruit_that_is_not_in_the_image_is_fruit(named: list[object], share: float) -> None:
    (prediction,) = predict(BENCHMARK, [asked("apple")], {"q": json.dumps(named)})
    assert BENCHMARK.details([prediction])["names_fruit_alone"] == share
