"""MMBench-CN: MMBench's rules with a Chinese letter line."""

import base64
from pathlib import Path

import pytest

from components.evaluation.benchmark import Question
from components.evaluation.benchmarks import mmbench
from components.evaluation.benchmarks.mmbench_cn import BENCHMARK, FORMAT_LINE
from components.evaluation.scoring.score import predict, summarise

RED, BLUE, ANSWER_IS = "\u7ea2\u8272", "\u84dd\u8272", "\u7b54\u6848\u662f"
FULL_STOP = "\u3002"


@pytest.mark.parametrize(
    ("raw", "answer"),
    [
        ("A", "A"),
        (f"B. {BLUE}", "B"),
        (RED, "A"),
        (f"{ANSWER_IS}{RED}", "A"),
        (f"{ANSWER_IS} B", "B"),
        (f"{ANSWER_IS}B", ""),  # glued to Chinese there is no word B; a language model would see it
        (f"A{FULL_STOP}", ""),  # the full stop of Chinese is no mark that the rules know
        ("The answer is B", "B"),
        ("", ""),
    ],
)
def test_letters_are_found_by_the_rules_for_english(raw: str, answer: str) -> None:
    question = Question("0", "mmbench_cn", "?", "A", meta={"options": {"A": RED, "B": BLUE}})
    assert BENCHMARK.parse(raw, question) == answer


def write(root: Path) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    columns = ["index", "question", "hint", "A", "B", "C", "D", "answer", "category", "image",
               "source", "l2-category", "comment", "split"]  # fmt: skip
    image = base64.b64encode(b"image").decode()
    lines = ["\t".join(columns)]
    for turn, (options, answer) in enumerate((((RED, BLUE), "A"), ((BLUE, RED), "B"))):
        cells = [str(7 + turn * 1_000_000), "\u4ec0\u4e48?", "nan", *options, "", "", answer]
        lines.append("\t".join([*cells, "color", image, "s", "wide", "", "dev"]))
    (root / BENCHMARK.table).write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def test_the_letter_line_is_chinese_and_rotations_are_one_question(tmp_path: Path) -> None:
    questions = BENCHMARK.read(write(tmp_path))
    assert questions[0].prompt == f"\u4ec0\u4e48?\nA. {RED}\nB. {BLUE}\n{FORMAT_LINE}"
    assert questions[0].max_new_tokens == mmbench.BENCHMARK.max_new_tokens
    for raws, percent in (({q.id: RED for q in questions}, 100.0), ({"7": "A"}, 0.0)):
        scores = summarise(BENCHMARK, predict(BENCHMARK, questions, raws))
        assert scores.headline_percent == percent


def test_it_is_read_from_a_folder_of_its_own() -> None:
    assert (BENCHMARK.folder, mmbench.BENCHMARK.folder) == ("mmbench_cn", "mmbench")
    assert BENCHMARK.published["LLaVA-1.5-7B"] == 58.3
