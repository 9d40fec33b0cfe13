"""SEED-Bench: multiple choice about images and videos, twelve dimensions (v1).

    SEED-Bench.json
        {"question_type": {"Scene Understanding": 1, "Instance Identity": 2, ...},
         "questions": [{"question_id": "101669", "question_type_id": 5, "data_type": "image",
           "data_id": "1454426_2591111986", "question": "How many towels are in the image?",
           "choice_a": "One", "choice_b": "Two", "choice_c": "Three", "choice_d": "Four",
           "answer": "A"}, ...]}
    llava-seed-bench.jsonl
        {"question_id": 101669, "image": "SEED-Bench-image/1454426_2591111986",
         "category": "Instances Counting", "text": "How many towels are in ...?\\nA. One\\n..."}
    SEED-Bench-image/1454426_2591111986, SEED-Bench-video-image/10_v0.png (a video's middle frame)

Two versions of SEED-Bench.json exist: LLaVA-1.5's figures are of 19,242 questions (5,009 of them on
videos); the one refreshed on 2023-11-30 has 17,990 (3,757). Both are read, with either question
file: the questions are those of SEED-Bench.json, and a prompt is taken from the jsonl where that
has the question and asks the same.

Scored as by scripts/convert_seed_for_submission.py of LLaVA at c121f04: the output must equal the
letter, nothing stripped; the last of several answers counts; a missing one is wrong. The authors'
own leaderboard ranks the choices by likelihood, which gives other figures.
"""

import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from components.core.errors import DataError
from components.data.response_formats import OPTION_LETTER
from components.evaluation.benchmark import Prediction, Question
from components.evaluation.files import field, located_rows, read_json
from components.evaluation.scoring.metrics import MeanAccuracy, percent_by
from components.evaluation.submissions import Answer, Written, joined

log = logging.getLogger(__name__)

LETTERS = "ABCD"


class Seed(MeanAccuracy):
    name = "seed"
    title = "SEED-Bench"
    folder = "seed_bench"
    headline_name = "accuracy on images and videos"
    max_new_tokens = 128  # llava/eval/model_vqa_loader.py
    # arXiv 2310.03744 table 4; on images / videos: 7B 66.1 / 37.3, 13B 68.2 / 42.7, 13B-HD
    # 70.1 / 41.3. IDEFICS has only images there (9B 44.5, 80B 53.2).
    published = {
        "LLaVA-1.5-7B": 58.6, "LLaVA-1.5-13B": 61.6, "LLaVA-1.5-13B-HD": 62.6,
        "BLIP2-14B": 46.4, "InstructBLIP-8B": 53.4, "Qwen-VL": 56.3, "Qwen-VL-Chat": 58.2,
        "LLaVA-7B": 33.5,
    }  # fmt: skip
    note = "videos by their middle frame; published figures are of 19,242 questions"

    def read(self, root: Path) -> list[Question]:
        path, prompted = root / "SEED-Bench.json", root / "llava-seed-bench.jsonl"
        rows, dimensions = _annotations(path)
        prompts = _prompts(prompted) if prompted.exists() else {}
        questions = []
        num_without = 0
        for index, row in enumerate(rows):
            where = f"{path}[{index}]"
            key = str(field(row, "question_id", where))
            prompt, image = _prompt(row, where), _image(row, key, where)
            found = prompts.get(_as_number(key))
            if found and found["text"].startswith(str(row["question"]).strip()):
                prompt, image = found["text"], found["image"]
            else:
                num_without += 1
            answer = field(row, "answer", where)
            if answer not in tuple(LETTERS):
                raise DataError(f"{where}: answer {answer!r} is not one of {LETTERS}")
            questions.append(
                Question(
                    id=key,
                    benchmark=self.name,
                    prompt=prompt,
                    target=answer,
                    image_path=str(root / image),
                    group=image,
                    max_new_tokens=self.max_new_tokens,
                    meta={
                        "data_type": row["data_type"],
                        "dimension": dimensions[row["question_type_id"]],
                    },
                )
            )
        if prompts and (num_without or len(prompts) != len(rows)):
            log.warning(
                "%s has %d questions and %s %d: files of two versions. The questions of the first "
                "are asked, %d of them with a prompt made here",
                path, len(rows), prompted.name, len(prompts), num_without,
            )  # fmt: skip
        return questions

    def parse(self, raw: str, question: Question) -> str:
        return raw

    def score(self, answer: str, question: Question) -> float:
        return float(answer == question.target)

    def details(self, predictions: Sequence[Prediction]) -> dict[str, float]:
        return {
            **percent_by(predictions, lambda p: "all"),
            **percent_by(predictions, lambda p: str(p.question.meta["data_type"])),
            **percent_by(predictions, lambda p: f"dimension/{p.question.meta['dimension']}"),
            "answers_not_a_letter": float(sum(p.answer not in tuple(LETTERS) for p in predictions)),
        }


def _annotations(path: Path) -> tuple[list[dict[str, Any]], dict[Any, str]]:
    """Return the questions and the names of the dimensions by number."""
    value = read_json(path)
    rows = value.get("questions") if isinstance(value, dict) else None
    if not isinstance(rows, list) or not isinstance(value.get("question_type"), dict):
        raise DataError(f"{path}: expected an object with 'questions' and 'question_type'")
    dimensions = {number: name for name, number in value["question_type"].items()}
    for index, row in enumerate(rows):
        where = f"{path}[{index}]"
        if not isinstance(row, dict):
            raise DataError(f"{where}: expected an object, found {type(row).__name__}")
        if field(row, "question_type_id", where) not in dimensions:
            raise DataError(f"{where}: question_type_id {row['question_type_id']!r} has no name")
        if field(row, "data_type", where) not in ("image", "video"):
            raise DataError(
                f"{where}: data_type {row['data_type']!r} is neither image nor video; this reads "
                f"SEED-Bench v1"
            )
    return rows, dimensions


def _prompts(path: Path) -> dict[int | str, dict[str, str]]:
    prompts = {}
    for where, row in located_rows(path):
        key = _as_number(str(field(row, "question_id", where)))
        prompts[key] = {name: str(field(row, name, where)) for name in ("text", "image")}
    return prompts


def _as_number(key: str) -> int | str:
    """Return the id as the original compares it: a number where it is one ("v12" is not)."""
    try:
        return int(key)
    except ValueError:
        return key


def _prompt(row: dict[str, Any], where: str) -> str:
    options = [f"{letter}. {field(row, f'choice_{letter.lower()}', where)}" for letter in LETTERS]
    return "\n".join([str(field(row, "question", where)), *options, OPTION_LETTER])


def _image(row: dict[str, Any], key: str, where: str) -> str:
    """Return the image's path as the original's files name it (extract_video_frames.py)."""
    if row["data_type"] == "video":
        return f"SEED-Bench-video-image/{row['question_type_id']}_{key}.png"
    return f"SEED-Bench-image/{field(row, 'data_id', where)}"


class SeedLeaderboard:
    """The upload of the leaderboard: one line per question of SEED-Bench.json, in its order."""

    name = "seed-leaderboard"
    benchmark = "seed"
    server = "https://huggingface.co/spaces/AILab-CVC/SEED-Bench_Leaderboard"
    file_name = "seed_bench.jsonl"

    def read(self, root: Path) -> list[Question]:
        return BENCHMARK.read(root)

    def write(self, root: Path, answers: Iterable[Answer], path: Path) -> Written:
        """The original's converter stops at a missing answer, and so does this."""
        rows, _ = _annotations(root / "SEED-Bench.json")
        keys = [row["question_id"] for row in rows]
        found = joined(self.name, [str(key) for key in keys], answers, complete=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [
            json.dumps({"question_id": key, "prediction": found.raws[str(key)]}) for key in keys
        ]
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return found.written(path, len(rows))


BENCHMARK = Seed()
SUBMISSIONS = (SeedLeaderboard(),)
