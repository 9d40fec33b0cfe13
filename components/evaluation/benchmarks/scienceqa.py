"""ScienceQA: school questions with choices; the published figure is of those with an image (IMG).

    problems.json
        {"5": {"question": "Which of the following could Gordon's test show?", "answer": 1,
               "choices": ["if the spacecraft ...", ...], "hint": "People can ...", "image":
               "image.png", "grade": "grade8", "subject": "natural science", "split": "test", ...}}
    pid_splits.json
        {"test": ["4", "5", ...], ...}                    4,241 test questions, 2,017 with image
    llava_test_CQM-A.json
        [{"id": "5", "image": "5/image.png", "conversations": [{"from": "human", "value":
          "<image>\\nContext: People can ...\\nWhich of ...?\\nA. if the ...\\nB. how ..."}, ...]}]
    images/test/5/image.png

Prompt as in llava/eval/model_vqa_science.py at c121f04 with --single-pred-prompt: the human turn
without the image token, then the letter line. Scored as by llava/eval/eval_science_qa.py: exactly a
letter A to E; else a letter and ". " at the start; else exactly one match of `The answer is X` and
any character; else FAILED, which is wrong, as is a letter beyond the choices. IMG accuracy is over
the answers whose prompt has an image: there a missing answer is absent, while it is wrong in the
accuracy of all. Sub-scores as by lupantech/ScienceQA tools/evaluate_acc.py: NAT, SOC, LAN by
subject, TXT, IMG, NO by context, G1-6, G7-12 by grade; in those a missing answer is wrong.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from components.core.errors import DataError
from components.data.response_formats import OPTION_LETTER
from components.evaluation.benchmark import Counts, FloatArray, Prediction, Question
from components.evaluation.files import field, read_json
from components.evaluation.scoring.metrics import MeanAccuracy, percent_by, tally

LETTERS = "ABCDE"
FAILED = "FAILED"
IMAGE_TOKEN = "<image>"
SUBJECTS = {"natural science": "NAT", "social science": "SOC", "language science": "LAN"}
GRADES = {f"grade{number}": "G1-6" if number <= 6 else "G7-12" for number in range(1, 13)}
# The last dot of the official pattern is any character, so the letter cannot end the text.
_ANSWER_IS = re.compile(r"The answer is ([A-Z]).")


class Scienceqa(MeanAccuracy):
    name = "scienceqa"
    title = "ScienceQA-IMG"
    folder = "scienceqa"
    headline_name = "accuracy on questions with an image"
    max_new_tokens = 1024  # llava/eval/model_vqa_science.py
    published = {  # arXiv 2310.03744 table 3
        "LLaVA-1.5-7B": 66.8, "LLaVA-1.5-13B": 71.6, "LLaVA-1.5-13B-HD": 71.0,
        "BLIP-2 Vic-13B": 61.0, "InstructBLIP 7B": 60.5, "InstructBLIP 13B": 63.1,
        "Qwen-VL": 67.1, "Qwen-VL-Chat": 68.2,
    }  # fmt: skip
    note = ""
    missing_rule = "are left out of the score, as by the original (`img_missing_wrong` counts them)"

    def read(self, root: Path) -> list[Question]:
        paths = root / "problems.json", root / "pid_splits.json", root / "llava_test_CQM-A.json"
        problems, splits = read_json(paths[0]), read_json(paths[1])
        if not isinstance(problems, dict):
            raise DataError(f"{paths[0]}: expected an object of problems by id")
        if not isinstance(splits, dict) or not isinstance(splits.get("test"), list):
            raise DataError(f"{paths[1]}: expected an object with a list 'test'")
        prompts = _prompts(paths[2]) if paths[2].exists() else None
        questions = []
        for key in map(str, splits["test"]):
            if not isinstance(problems.get(key), dict):
                raise DataError(f"{paths[1]}: problem {key} is not in {paths[0]}; use one release")
            if prompts is not None and key not in prompts:
                raise DataError(f"{paths[2]}: no question {key} of the test split; use one release")
            where = f"{paths[0]}[{key}]"
            text, image = (
                prompts[key] if prompts is not None else _prompt(problems[key], key, where)
            )
            questions.append(self._question(root, key, problems[key], text, image, where))
        return questions

    def _question(
        self, root: Path, key: str, problem: dict[str, Any], text: str, image: str, where: str
    ) -> Question:
        choices, answer = field(problem, "choices", where), field(problem, "answer", where)
        if not isinstance(choices, list) or not 2 <= len(choices) <= len(LETTERS):
            raise DataError(f"{where}: expected 2 to {len(LETTERS)} choices, found {choices!r}")
        if not isinstance(answer, int) or not 0 <= answer < len(choices):
            raise DataError(f"{where}: answer {answer!r} is not the place of one of the choices")
        return Question(
            id=key,
            benchmark=self.name,
            prompt=f"{text.replace(IMAGE_TOKEN, '').strip()}\n{OPTION_LETTER}",
            target=LETTERS[answer],
            image_path=str(root / "images" / "test" / image) if image else None,
            max_new_tokens=self.max_new_tokens,
            meta={
                "num_choices": len(choices),
                "multimodal": bool(image),
                "subject": SUBJECTS.get(problem.get("subject", "")),
                "grade": GRADES.get(problem.get("grade", "")),
                "has_text": bool(problem.get("hint")),
                "has_image": bool(problem.get("image")),
            },
        )

    def parse(self, raw: str, question: Question) -> str:
        if raw in tuple(LETTERS):
            return raw
        if len(raw) >= 3 and raw[0] in LETTERS and raw[1:3] == ". ":
            return raw[0]
        found = _ANSWER_IS.findall(raw)
        return found[0] if len(found) == 1 else FAILED

    def score(self, answer: str, question: Question) -> float:
        return float(answer == question.target)

    def count(self, predictions: Sequence[Prediction]) -> Counts:
        def entries() -> Iterator[tuple[str, int, float]]:
            for prediction in predictions:
                if prediction.question.meta["multimodal"]:
                    yield prediction.question.cluster, 0, prediction.score
                    # Absent from the sum and from the number, as in the original.
                    yield prediction.question.cluster, 1, float(prediction.raw is not None)
                    yield prediction.question.cluster, 2, 1.0

        return tally(entries(), num_columns=3)

    def maximum(self, totals: FloatArray) -> float:
        return 100.0 if totals[2] > 0 else 0.0  # no score without a question that has an image

    def details(self, predictions: Sequence[Prediction]) -> dict[str, float]:
        return {
            **percent_by(predictions, lambda p: "all"),
            **percent_by(predictions, lambda p: p.question.meta.get("subject")),
            **percent_by(predictions, lambda p: "TXT" if p.question.meta["has_text"] else None),
            **percent_by(predictions, lambda p: "IMG" if p.question.meta["has_image"] else None),
            **percent_by(predictions, lambda p: "NO" if _no_context(p.question) else None),
            **percent_by(predictions, lambda p: p.question.meta.get("grade")),
            **percent_by(
                predictions,
                lambda p: "img_missing_wrong" if p.question.meta["multimodal"] else None,
            ),
            "answers_without_a_letter": float(sum(p.answer == FAILED for p in predictions)),
        }


def _no_context(question: Question) -> bool:
    return not question.meta["has_text"] and not question.meta["has_image"]


def _prompts(path: Path) -> dict[str, tuple[str, str]]:
    """Return (human turn, image or "") by id from the original's question file."""
    rows = read_json(path)
    if not isinstance(rows, list):
        raise DataError(f"{path}: expected a list of questions, found {type(rows).__name__}")
    prompts = {}
    for index, row in enumerate(rows):
        where = f"{path}[{index}]"
        turns = field(row, "conversations", where)
        if not isinstance(turns, list) or not turns:
            raise DataError(f"{where}: 'conversations' has no turn")
        text = field(turns[0], "value", where)
        prompts[str(field(row, "id", where))] = (str(text), str(row.get("image") or ""))
    return prompts


def _prompt(problem: dict[str, Any], key: str, where: str) -> tuple[str, str]:
    """Return what the original's question file holds for a problem, made from the problem."""
    hint, image = problem.get("hint"), problem.get("image")
    lines = [f"Context: {hint}"] if hint else []
    choices = field(problem, "choices", where)
    lines += [field(problem, "question", where)]
    lines += [f"{letter}. {text}" for letter, text in zip(LETTERS, choices, strict=False)]
    return "\n".join(lines), f"{key}/{image}" if image else ""


BENCHMARK = Scienceqa()
