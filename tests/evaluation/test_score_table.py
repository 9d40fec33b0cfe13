"""The table says what a reader needs and nothing is cut off."""

from rich.console import Console

from components.evaluation.config import BenchmarkScores
from components.evaluation.score_table import metrics, notes, score_table

POPE = BenchmarkScores(
    benchmark="pope",
    title="POPE",
    headline_name="F1, mean of 3 splits",
    headline_percent=87.25,
    ci_low=84.1,
    ci_high=90.2,
    score=87.25,
    blind_percent=51.0,
    blind_ci_low=47.0,
    blind_ci_high=55.0,
    difference_percent=36.25,
    difference_ci_low=31.25,
    difference_ci_high=41.25,
    num_questions=8910,
    published={"LLaVA-1.5-7B": 85.9},
    details={"random/f1": 88.0},
)
MME = BenchmarkScores(
    benchmark="mme",
    title="MME perception",
    headline_name="sum",
    headline_percent=70.0,
    ci_low=60.0,
    ci_high=80.0,
    score=700.0,
    score_maximum=1000.0,
    num_questions=300,
    num_missing=3,
    num_duplicates=2,
    published={"LLaVA-1.5-7B": 1510.7},
    note="only parts worth 1,000 of 2,000 points are present",
)


def test_table_holds_every_number_in_80_columns() -> None:
    console = Console(width=80)
    with console.capture() as captured:
        console.print(score_table([POPE, MME]))
    text = captured.get()
    for part in ("87.2", "84.1 - 90.2", "51.0", "+36.2", "85.9"):
        assert part in text
    for part in ("MME perception", "(-3)", "70.0", "60.0 - 80.0"):
        assert part in text


def test_notes_tell_what_is_measured_and_what_spoils_a_comparison() -> None:
    pope, mme = notes([POPE, MME])
    for part in ("POPE", "8,910", "F1, mean of 3 splits"):
        assert part in pope
    for part in ("MME perception", "300", "700.0 of 1,000 points", MME.note, "2 questions"):
        assert part in mme


def test_no_published_figure_stands_beside_a_stand_in() -> None:
    proxy = POPE.with_(note="overlap with the reference; not comparable")
    console = Console(width=80)
    with console.capture() as captured:
        console.print(score_table([proxy]))
    assert "87.2" in captured.get()
    assert "85.9" not in captured.get()
    assert "not comparable" in notes([proxy])[0]


def test_metrics_are_named_by_benchmark() -> None:
    found = metrics(POPE)
    assert found["eval/pope/percent"] == 87.25
    assert found["eval/pope/random/f1"] == 88.0
    assert "eval/mme/blind_percent" not in metrics(MME)


WITHOUT = {
    "text_only_percent": 48.5,
    "text_only_ci_low": 45.0,
    "text_only_ci_high": 52.0,
    "text_only_difference_percent": 38.75,
    "text_only_difference_ci_low": 34.75,
    "text_only_difference_ci_high": 42.75,
}


def test_the_text_only_control_has_a_column_where_it_was_run() -> None:
    pope = POPE.with_(**WITHOUT)
    proxy = POPE.with_(title="LLaVA-Bench (offline proxy)", comparable=False)
    console = Console(width=80)
    with console.capture() as captured:
        console.print(score_table([pope, MME, proxy]))
    text = captured.get()
    for part in (" no ", "48.5", "51.0", "+36.2 +-5.0", "1,510.7", "(-3)"):
        assert part in text
    assert text.count("85.9") == 1, "no published figure beside a proxy"
    assert not any("no\nimage" in str(each.header) for each in score_table([POPE]).columns)
    assert "no image 48.5, above it +38.8 +-4.0" in notes([pope])[0]
    assert metrics(pope)["eval/pope/text_only_percent"] == 48.5
    assert "eval/pope/num_judge_failures" not in metrics(pope)
