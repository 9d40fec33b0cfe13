"""MME's first four characters, pairs and sums."""

import json
from pathlib import Path

import pytest

from components.core.errors import DataError
from components.data.response_formats import SHORT_ANSWER
from components.evaluation.benchmarks.mme import BENCHMARK
from components.evaluation.scoring.score import predict, summarise


@pytest.mark.parametrize(
    ("raw", "answer"),
    [
        ("Yes", "yes"),
        ("no", "no"),
        ("No, it is not", "no"),
        ("yes/no", "yes"),  # yes is looked for first
        ("know", "no"),
        ("snow", "no"),
        ("None", "no"),
        ("Not sure", "no"),
        ("a no", "no"),
        ("a yes", "other"),  # "a ye"
        ("Eyes", "yes"),
        ("The answer is yes", "other"),
        ("", "other"),
        ("ja", "other"),
    ],
)
def test_answers_are_read_as_the_official_tool_reads_them(raw: str, answer: str) -> None:
    assert BENCHMARK.parse(raw, None) == answer  # type: ignore[arg-type] # reads no question


def write(root: Path, subtasks: tuple[str, ...] = ("existence", "count"), images: int = 4) -> Path:
    rows = []
    for subtask in subtasks:
        folder = root / "MME_Benchmark_release_version" / subtask
        folder.mkdir(parents=True, exist_ok=True)
        for n in range(images):
            # Some files have two spaces before the official line.
            (folder / f"{n:04d}.txt").write_text(
                f"Is it {n}? Please answer yes or no.\tYes\n"
                f"Is it {n + 1}?  Please answer yes or no.\tNo\n"
            )
            (folder / f"{n:04d}.jpg").touch()
            name = f"{subtask}/{n:04d}.jpg"
            rows += [
                {
                    "question_id": name,
                    "image": name,
                    "text": f"Is it {number}?\n{SHORT_ANSWER}",
                    "category": subtask,
                }
                for number in (n + 1, n)
            ]
    (root / "llava_mme.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


def test_two_questions_share_an_image_and_not_an_id(tmp_path: Path) -> None:
    questions = BENCHMARK.read(write(tmp_path))
    assert len({q.id for q in questions}) == 16
    assert len({q.cluster for q in questions}) == 8
    assert [q.target for q in questions[:2]] == ["no", "yes"]  # joined by text, not by order


def test_accuracy_and_accuracy_plus(tmp_path: Path) -> None:
    questions = BENCHMARK.read(write(tmp_path))
    # Existence all right: 200. Count always yes: accuracy 50, no image with both right.
    raws = {q.id: q.target if q.meta["subtask"] == "existence" else "Yes" for q in questions}
    scores = summarise(BENCHMARK, predict(BENCHMARK, questions, raws))
    assert scores.details["existence"] == 200.0
    assert scores.details["count"] == 50.0
    assert scores.details["count/accuracy_plus"] == 0.0
    assert scores.score == 250.0
    assert scores.score_maximum == 400.0
    assert scores.headline_percent == 62.5
    assert "only parts worth 400 of 2,000" in scores.note


def test_half_a_pair_gives_accuracy_but_no_plus(tmp_path: Path) -> None:
    questions = BENCHMARK.read(write(tmp_path, ("color",), images=2))
    raws = {q.id: q.target for q in questions}
    raws[questions[0].id] = "maybe"
    scores = summarise(BENCHMARK, predict(BENCHMARK, questions, raws))
    assert scores.score == 75.0 + 50.0
    assert scores.details["answers_neither_yes_nor_no"] == 1.0


def test_cognition_is_apart_from_the_headline(tmp_path: Path) -> None:
    questions = BENCHMARK.read(write(tmp_path, ("existence", "code_reasoning")))
    raws = {q.id: q.target if q.meta["subtask"] == "existence" else "no" for q in questions}
    scores = summarise(BENCHMARK, predict(BENCHMARK, questions, raws))
    assert (scores.score, scores.details["perception"]) == (200.0, 200.0)
    assert scores.details["cognition"] == 50.0


def test_an_image_with_one_question_is_told(tmp_path: Path) -> None:
    questions = BENCHMARK.read(write(tmp_path))[1:]
    scores = summarise(
        BENCHMARK, predict(BENCHMARK, questions, {q.id: q.target for q in questions})
    )
    assert scores.details["pictures_without_two_questions"] == 1.0


def test_the_nested_layout_of_some_subtasks_is_read(tmp_path: Path) -> None:
    write(tmp_path, ("posters",), images=1)
    folder = tmp_path / "MME_Benchmark_release_version" / "posters"
    (folder / "images").mkdir()
    (folder / "questions_answers_YN").mkdir()
    (folder / "0000.jpg").rename(folder / "images" / "0000.jpg")
    (folder / "0000.txt").rename(folder / "questions_answers_YN" / "0000.txt")
    questions = BENCHMARK.read(tmp_path)
    assert str(questions[0].image_path).endswith("posters/images/0000.jpg")


def test_damage_is_named(tmp_path: Path) -> None:
    write(tmp_path)
    broken = tmp_path / "MME_Benchmark_release_version" / "count" / "0001.txt"
    broken.write_text("Is it 1? Please answer yes or no. Yes\n")
    with pytest.raises(DataError, match=r"0001.txt:1: expected QUESTION<tab>"):
        BENCHMARK.read(tmp_path)
    broken.write_text("Is it something else? Please answer yes or no.\tYes\n")
    with pytest.raises(DataError, match=r"llava_mme.jsonl:\d+: .*count has no answer for 0001.txt"):
        BENCHMARK.read(tmp_path)
