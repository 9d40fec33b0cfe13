"""Two models compared: the right direction, the right questions, several benchmarks corrected."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from components.core.errors import DataError
from components.evaluation.benchmark import Question, get_benchmark
from components.evaluation.scoring.comparison import (
    ModelComparison,
    changed_table,
    compare_models,
    comparison_table,
    p_text,
)
from components.evaluation.scoring.score import (
    PREDICTIONS,
    predict,
    read_predictions,
    write_predictions,
)
from components.evaluation.scoring.statistics import compare, holm


def results(
    folder: Path,
    reply: Callable[[int], str | None],
    benchmark: str = "gqa",
    count: int = 60,
    backwards: bool = False,
) -> Path:
    """A folder of answers to yes-questions, two on an image."""
    folder.mkdir(parents=True)
    meta = {"split": "random"} if benchmark == "pope" else {}
    questions = [
        Question(str(n), benchmark, f"Q{n}?", "yes", group=str(n // 2), meta=meta)
        for n in range(count)
    ]
    raws = {str(n): reply(n) for n in range(count)}
    made = predict(get_benchmark(benchmark), questions, raws)
    write_predictions(folder / PREDICTIONS, made[::-1] if backwards else made)
    return folder


def right_below(limit: int) -> Callable[[int], str]:
    return lambda n: "yes" if n < limit else "no"


def printed(table: object, width: int = 120) -> str:
    console = Console(width=width)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def test_the_difference_is_b_minus_a_and_the_changed_questions_are_named(tmp_path: Path) -> None:
    a = results(tmp_path / "a", lambda n: None if n == 59 else right_below(20)(n))
    b = results(tmp_path / "b", lambda n: "NO" if n == 3 else right_below(40)(n), backwards=True)
    row = compare_models([a], [b]).rows[0]
    assert (row.a_percent, row.b_percent) == (pytest.approx(100 / 3), pytest.approx(65))
    assert row.difference_percent == pytest.approx(100 * 19 / 60)
    assert [each.question_id for each in row.gained] == [str(n) for n in range(20, 40)]
    lost = row.lost[0]
    assert (lost.question_id, lost.a_raw, lost.b_raw, lost.b_answer) == ("3", "yes", "NO", "no")
    assert (lost.prompt, lost.target, lost.a_score, lost.b_score) == ("Q3?", "yes", 1.0, 0.0)
    assert row.verdict == "better"
    gqa = get_benchmark("gqa")
    counts_b, counts_a = (gqa.count(read_predictions(side)[1]) for side in (b, a))
    same = compare(counts_b, counts_a, gqa.headline)  # a percent already
    assert (row.ci_low, row.ci_high, row.p_value) == (same.low, same.high, same.p_value)
    assert row.ci_low < row.difference_percent < row.ci_high


def test_a_large_difference_is_no_chance(tmp_path: Path) -> None:
    a = results(tmp_path / "a", right_below(20), count=40)
    b = results(tmp_path / "b", right_below(40), count=40)
    row = compare_models([a], [b]).rows[0]
    assert row.difference_percent == 50.0
    assert row.ci_low > 20
    assert row.p_value < 0.01


def test_the_two_directions_mirror_each_other(tmp_path: Path) -> None:
    a, b = results(tmp_path / "a", right_below(20)), results(tmp_path / "b", right_below(40))
    there, back = compare_models([a], [b]).rows[0], compare_models([b], [a]).rows[0]
    assert there.difference_percent == -back.difference_percent
    assert there.p_value == back.p_value
    assert len(there.gained) == len(back.lost) == 20
    assert back.verdict == "worse"


def test_several_benchmarks_are_corrected_and_the_table_says_so(tmp_path: Path) -> None:
    folders = {
        side: [
            results(tmp_path / side / "gqa", right_below(gqa)),
            results(tmp_path / side / "pope", right_below(pope), "pope"),
        ]
        for side, gqa, pope in (("a", 40, 30), ("b", 48, 30))
    }
    extra = results(tmp_path / "a" / "textvqa_none", right_below(3), "gqa")
    found = compare_models(folders["a"], folders["b"], "old", "new")
    gqa, pope = found.rows
    assert gqa.p_corrected == pytest.approx(2 * gqa.p_value)
    assert (pope.p_value, pope.p_corrected, pope.verdict) == (1.0, 1.0, "unclear")
    narrow = printed(comparison_table(found), 80)
    assert "\u2026" not in narrow  # nothing is cut off
    text = " ".join(printed(comparison_table(found)).split())
    assert "B = new against A = old" in text
    assert "Holm's correction over 2 benchmarks" in text
    assert "+13.3" in text
    with pytest.raises(DataError, match=r"are both of gqa"):
        compare_models([*folders["a"], extra], folders["b"])
    part = compare_models(folders["a"], folders["b"][:1])
    assert (part.only_a, part.only_b) == (("pope",), ())
    assert part.rows[0].p_corrected == part.rows[0].p_value
    assert "Holm" not in printed(comparison_table(part))
    with pytest.raises(DataError, match="no benchmark was asked of both: A has gqa; B has pope"):
        compare_models(folders["a"][:1], folders["b"][1:])


def test_other_questions_are_refused(tmp_path: Path) -> None:
    a = results(tmp_path / "a", right_below(3))
    with pytest.raises(DataError, match="4 questions are in only one of"):
        compare_models([a], [results(tmp_path / "short", right_below(3), count=56)])
    other = results(tmp_path / "other", right_below(3))
    path = other / PREDICTIONS
    path.write_text(path.read_text().replace("Q7?", "Another?"))
    with pytest.raises(DataError, match="question '7' is put as 'Q7"):
        compare_models([a], [other])


def test_the_record_is_json_and_comes_back(tmp_path: Path) -> None:
    a, b = results(tmp_path / "a", right_below(9)), results(tmp_path / "b", right_below(12))
    found = compare_models([a], [b])
    text = json.dumps(found.model_dump(mode="json"))
    assert ModelComparison.model_validate(json.loads(text)) == found


def test_changed_questions_are_printed_as_text_and_not_as_markup(tmp_path: Path) -> None:
    a = results(tmp_path / "a", lambda n: "yes" if n else "[bold]no[/bold]")
    b = results(tmp_path / "b", lambda n: "yes" if n != 1 else "")
    text = printed(changed_table(compare_models([a], [b]).rows[0]))
    assert "[bold]no[/bold]" in text
    assert "(empty)" in text
    many = results(tmp_path / "c", right_below(0))
    assert "and 57 more" in printed(changed_table(compare_models([b], [many]).rows[0], most=2))


def test_holm_by_hand() -> None:
    # Sorted .005 .01 .03 .04, times 4 3 2 1 = .02 .03 .06 .04; never below an earlier one.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2]
    assert holm([]) == []


def test_p_values_are_not_printed_as_zero() -> None:
    assert [p_text(p) for p in (0.0004, 0.0123, 0.5)] == ["<0.001", "0.012", "0.50"]
