"""MMBench's letter rules and its circular groups."""

import base64
from pathlib import Path

import pytest

from components.core.errors import DataError
from components.data.response_formats import OPTION_LETTER
from components.evaluation.benchmark import Question
from components.evaluation.benchmarks.mmbench import BENCHMARK
from components.evaluation.scoring.circular import ROTATION
from components.evaluation.scoring.score import predict, summarise

COLUMNS = (
    "index", "question", "hint", "A", "B", "C", "D",
    "answer", "category", "l2-category", "source", "comment", "image",
)  # fmt: skip
OPTIONS = {"A": "red", "B": "a blue bird", "C": "green", "D": "left of it"}


@pytest.mark.parametrize(
    ("raw", "answer"),
    [
        ("A", "A"),
        ("A.", "A"),
        ("(A)", "A"),
        ("B: a blue bird", "B"),
        ("The answer is A.", "A"),
        ("The answer is **C**, because the sky is often like this one", "C"),
        ("the correct answer is d for many long and good reasons given below", "D"),
        ("A or B", ""),
        ("A dog sits there on the mat", ""),  # an article, too early for a letter
        ("It is surely D", "D"),
        ("a", ""),  # a lower-case letter is no letter
        ("red", "A"),
        ("RED", "A"),
        ("It is green", "C"),
        ("red and green", ""),
        ("E", ""),
        ("Z", "Z"),
        ("Cannot determine the answer", "Z"),
        ("", ""),
        ("red " * 40, ""),  # more than twice as long as all options
        ("**B**", "B"),
        ("B B B", "B"),
    ],
)
def test_letters_are_found_by_the_rules(raw: str, answer: str) -> None:
    question = Question("0", "mmbench", "?", "A", meta={"options": OPTIONS})
    assert BENCHMARK.parse(raw, question) == answer


def test_a_letter_beyond_the_choices_is_none() -> None:
    question = Question("0", "mmbench", "?", "A", meta={"options": {"A": "yes", "B": "no"}})
    assert BENCHMARK.parse("C", question) == ""
    assert BENCHMARK.parse("The answer is C", question) == ""


def write(root: Path, num_questions: int = 3, shared_image: bool = False) -> Path:
    lines = ["\t".join(COLUMNS)]
    options = ["one", "two", "three"]
    for turn in range(3):
        turned = options[turn:] + options[:turn]
        for number in range(num_questions):
            image = base64.b64encode(f"image {number}".encode()).decode()
            row = {
                "index": str(100 + number + turn * ROTATION),
                "question": f"How many, {number}?",
                "hint": "nan" if number else "Look closely.",
                **dict(zip("ABC", turned, strict=True)),
                "D": "" if number else "nan",
                "answer": "ABC"[turned.index("two")],
                "category": "counting" if number else "ocr",
                "l2-category": "wide",
                "source": "test",
                "comment": "",
                "image": str(100 + number) if shared_image and turn else image,
            }
            lines.append("\t".join(row[column] for column in COLUMNS))
    root.mkdir(parents=True, exist_ok=True)
    (root / "mmbench_dev_20230712.tsv").write_text("\n".join(lines) + "\n")
    return root


def test_prompts_follow_the_originals_script(tmp_path: Path) -> None:
    first, second = BENCHMARK.read(write(tmp_path))[:2]
    assert first.prompt == (
        f"Look closely.\nHow many, 0?\nA. one\nB. two\nC. three\n{OPTION_LETTER}"
    )
    assert second.prompt.startswith("How many, 1?\nA. one")
    assert first.image_bytes == b"image 0"


def test_a_rotation_may_point_to_the_image_of_another_row(tmp_path: Path) -> None:
    plain = BENCHMARK.read(write(tmp_path / "a"))
    pointed = BENCHMARK.read(write(tmp_path / "b", shared_image=True))
    assert [q.image_bytes for q in plain] == [q.image_bytes for q in pointed]


def test_a_question_counts_when_every_rotation_is_right(tmp_path: Path) -> None:
    questions = BENCHMARK.read(write(tmp_path))
    raws = {q.id: q.target for q in questions}
    raws["1000101"] = "C"  # one rotation wrong
    raws["2000102"] = "A or B"  # one rotation undecided
    predictions = predict(BENCHMARK, questions[::-1], raws)
    scores = summarise(BENCHMARK, predictions)
    assert scores.headline_percent == pytest.approx(100 / 3)
    assert scores.num_questions == 9
    assert scores.details["questions"] == 3.0
    assert scores.details["single_pass"] == pytest.approx(100 * 7 / 9)
    assert scores.details["category/ocr"] == 100.0
    assert scores.details["category/counting"] == 0.0
    assert scores.details["undecided_rows"] == 1.0


def test_always_the_same_letter_scores_nothing(tmp_path: Path) -> None:
    questions = BENCHMARK.read(write(tmp_path))
    scores = summarise(
        BENCHMARK, predict(BENCHMARK, questions, dict.fromkeys(_ids(questions), "B"))
    )
    assert scores.headline_percent == 0.0
    assert scores.details["single_pass"] == pytest.approx(100 / 3)


def test_damage_is_named(tmp_path: Path) -> None:
    path = write(tmp_path) / "mmbench_dev_20230712.tsv"
    text = path.read_text()
    path.write_text(text.replace("\tanswer\t", "\tlabel\t"))
    with pytest.raises(DataError, match="no column answer"):
        BENCHMARK.read(tmp_path)
    path.write_text(text.replace("\n101\t", "\nx\t"))
    with pytest.raises(DataError, match=r"tsv:3: index 'x'"):
        BENCHMARK.read(tmp_path)
    image = base64.b64encode(b"image 1").decode()
    path.write_text(text.replace(image, "%%%"))
    with pytest.raises(DataError, match=r"tsv:3: image is not base64"):
        BENCHMARK.read(tmp_path)
    path.unlink()
    with pytest.raises(DataError, match="file missing"):
        BENCHMARK.read(tmp_path)


def _ids(questions: list[Question]) -> list[str]:
    return [question.id for question in questions]
