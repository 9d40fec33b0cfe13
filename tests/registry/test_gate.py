"""The gate on tables made by hand: what is noise, what is a drop, what cannot be compared."""

import math
import random

import pytest

from components.registry.gate import GateConfig, decide
from components.registry.scores import ScoreRow


def row(percent: float, half_width: float = 1.0, benchmark: str = "pope", **more) -> ScoreRow:
    return ScoreRow(
        benchmark=benchmark,
        percent=percent,
        ci_low=percent - half_width,
        ci_high=percent + half_width,
        **more,
    )


@pytest.mark.parametrize(
    ("candidate", "champion", "passed", "verdict"),
    [
        pytest.param(row(87.0), row(87.0), True, "as good", id="equal"),
        pytest.param(row(85.9), row(87.0), True, "as good", id="within noise"),
        pytest.param(row(84.0), row(87.0), False, "clearly below", id="clearly below"),
        pytest.param(row(90.0), row(87.0), True, "better", id="clearly better"),
        pytest.param(row(80.0, 10.0), row(87.0, 10.0), True, "as good", id="wide intervals"),
        pytest.param(row(86.5, 0.01), row(87.0, 0.01), True, "as good", id="below the tolerance"),
        pytest.param(row(85.5, 0.01), row(87.0, 0.01), False, "clearly below", id="no noise"),
    ],
)
def test_one_benchmark(candidate, champion, passed, verdict):
    report = decide([candidate], [champion], GateConfig())
    assert report.passed is passed
    assert [each.verdict for each in report.rows] == [verdict]
    assert bool(report.reasons) is not passed


def test_the_allowed_drop_is_the_one_sided_bound_of_two_intervals():
    # Half-widths 1.96 at 95% are standard errors of 1; their difference has one of sqrt(2).
    report = decide([row(80.0, 1.96)], [row(80.0, 1.96)], GateConfig(tolerance_points=0.0))
    assert report.rows[0].allowed_drop == pytest.approx(1.645 * math.sqrt(2.0), rel=1e-3)


def test_more_benchmarks_share_the_level():
    names = [f"benchmark{number}" for number in range(6)]
    scores = [row(80.0, 1.96, name) for name in names]
    report = decide(scores, scores, GateConfig(tolerance_points=0.0))
    # One-sided 0.05 / 6: z = 2.394.
    assert report.rows[0].allowed_drop == pytest.approx(2.394 * math.sqrt(2.0), rel=1e-3)


def test_a_refusal_names_benchmark_numbers_and_the_allowed_drop():
    report = decide([row(80.0)], [row(87.0)], GateConfig())
    (reason,) = report.reasons
    for part in ("pope", "80.0 [79.0, 81.0]", "7.0 points below", "87.0 [86.0, 88.0]", "up to 1.2"):
        assert part in reason


def test_without_a_champion_it_passes():
    report = decide([row(3.0)], None, GateConfig())
    assert report.passed
    assert report.rows[0].verdict == "new"


def test_a_floor_holds_without_a_champion():
    report = decide([row(60.0)], None, GateConfig(floors={"pope": 85.0}))
    assert not report.passed
    assert "60.0, the gate requires at least 85.0" in report.reasons[0]


@pytest.mark.parametrize(
    ("champion", "config"),
    [
        pytest.param([row(87.0), row(50.0, benchmark="gqa")], GateConfig(), id="champion has it"),
        pytest.param(None, GateConfig(required=("gqa",)), id="required"),
        pytest.param(None, GateConfig(floors={"gqa": 1.0}), id="floor"),
    ],
)
def test_a_missing_benchmark_refuses(champion, config):
    report = decide([row(87.0)], champion, config)
    assert not report.passed
    assert "gqa: the candidate has no score" in report.reasons[0]


def test_a_new_benchmark_passes():
    assert decide([row(87.0), row(1.0, benchmark="new")], [row(87.0)], GateConfig()).passed


def test_a_score_that_is_no_number_refuses():
    assert not decide([row(math.nan)], [row(87.0)], GateConfig()).passed
    assert not decide([row(math.nan)], None, GateConfig()).passed


def test_scores_on_other_questions_are_not_compared():
    ours, theirs = row(90.0, questions_digest="a" * 64), row(80.0, questions_digest="b" * 64)
    report = decide([ours], [theirs], GateConfig())
    assert report.rows[0].verdict == "not comparable"
    assert "evaluate the champion on the candidate's" in report.reasons[0]


def answers(right: dict[str, bool]) -> ScoreRow:
    per_question = {question: float(answer) for question, answer in right.items()}
    percent = 100.0 * sum(per_question.values()) / len(per_question)
    return row(percent, 5.0, per_question=per_question)


def test_pairing_sees_a_drop_that_two_intervals_hide():
    rng = random.Random(0)
    champion = {f"q{number}": rng.random() < 0.8 for number in range(400)}
    # 4 points lost, all of them on questions the champion had right, none won back.
    lost = [question for question, right in champion.items() if right][:16]
    candidate = {question: right and question not in lost for question, right in champion.items()}
    paired = decide([answers(candidate)], [answers(champion)], GateConfig())
    apart = decide(
        [answers(candidate).without_questions()],
        [answers(champion).without_questions()],
        GateConfig(),
    )
    assert paired.rows[0].paired
    assert not paired.passed
    assert apart.passed
    # 16 differences of -100 among 400: standard error 100 * sqrt(0.04 * 0.96 / 399).
    expected = 1.645 * 100.0 * math.sqrt(0.04 * 0.96 / 399)
    assert paired.rows[0].allowed_drop == pytest.approx(expected, rel=1e-3)


def test_questions_about_one_image_count_together():
    champion = {f"q{number}": True for number in range(400)}
    candidate = {question: number >= 16 for number, question in enumerate(champion)}
    groups = {question: str(number // 16) for number, question in enumerate(champion)}
    alone = decide([answers(candidate)], [answers(champion)], GateConfig())
    together = decide([answers(candidate).with_(groups=groups)], [answers(champion)], GateConfig())
    assert not alone.passed
    assert together.passed  # one image of 25 went wrong


def test_a_headline_that_is_no_mean_is_compared_by_its_interval():
    per_question = {"a": 1.0, "b": 0.0}
    f1 = row(66.7, 1.0, per_question=per_question, metric="f1")
    assert not decide([f1], [f1], GateConfig()).rows[0].paired


def test_the_table_has_a_line_per_benchmark():
    report = decide([row(80.0)], [row(87.0)], GateConfig())
    assert report.table().splitlines()[2] == "| pope | 80.0 | 87.0 | -7.0 | 1.2 | clearly below |"


def test_an_equal_model_passes_at_the_promised_rate():
    # Ten benchmarks of 300 questions, both models right on 70% by chance: near 5% are refused.
    rng = random.Random(1)
    config = GateConfig(tolerance_points=0.0)
    refused = 0
    for _ in range(200):
        sides = []
        for _side in range(2):
            scores = []
            for number in range(10):
                share = sum(rng.random() < 0.7 for _ in range(300)) / 300
                half = 196.0 * math.sqrt(share * (1 - share) / 300)
                scores.append(row(100.0 * share, half, str(number)))
            sides.append(scores)
        refused += not decide(sides[0], sides[1], config).passed
    # 200 trials at 5%: mean 10, standard deviation 3.1; 20 is more than three of them above.
    assert refused <= 20
