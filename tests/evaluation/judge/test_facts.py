"""What is said of a judge, and rows of a predictions file that cannot be read."""

import pytest

from components.core.errors import DataError
from components.evaluation.benchmark import Judgement, Prediction, Question, get_benchmark
from components.evaluation.judge.facts import JudgeFacts, judged_by, read_judgements

QUESTION = Question("v1_0", "mm_vet", "?", "a", meta={"question": "?", "capability": ["rec"]})


def prediction(*judgements: Judgement) -> Prediction:
    return Prediction(QUESTION, "a", "a", 0.0, judgements)


def test_failures_are_told_by_kind_and_those_of_the_controls_apart() -> None:
    good = prediction(Judgement("j", "p", ("0.5",)))
    nonsense = prediction(Judgement("j", "p", ("fine", "fine")))
    refused = prediction(Judgement("j", "p", (), "429: slow down"))
    found = judged_by(get_benchmark("mm_vet"), [good, nonsense, refused], [refused, good])
    assert (found.model, found.prompt, found.num_failures) == ("j", "p", 2)
    assert "2 of 3 judgements failed (1 without a grade, 1 not to be had)" in found.note
    assert "1 judgements of the controls failed" in found.note
    assert judged_by(get_benchmark("mm_vet"), [prediction()]) == JudgeFacts()
    assert judged_by(get_benchmark("gqa"), [good]) == JudgeFacts()


@pytest.mark.parametrize(
    "rows", [3, ["x"], [{"model": "m"}], [{"model": "m", "prompt": "p", "replies": None}]], ids=str
)
def test_rows_that_hold_no_judgements(rows: object) -> None:
    with pytest.raises(DataError, match=r"predictions.jsonl:4: 'judgements' is not a list"):
        read_judgements(rows, "predictions.jsonl:4")
