"""VizWiz: questions that blind people asked about their photographs; many cannot be answered.

The test answers are not public, so the published figure comes from a server (EvalAI 2185). Here the
public validation split (4,319 questions, one to an image) is scored with the server's formula.

    val.json
        [{"image": "VizWiz_val_00000000.jpg", "question": "Ok. There is another picture I hope ...",
          "answers": [{"answer_confidence": "yes", "answer": "unanswerable"}, ... ten of them],
          "answer_type": "unanswerable", "answerable": 0}]
    val/VizWiz_val_00000000.jpg
    llava_test.jsonl (for the submission; 8,000 questions)
        {"question_id": 0, "image": "VizWiz_test_00000000.jpg", "category": "default",
         "text": "What is this?\\nWhen the provided information is insufficient, respond with ..."}
    test/VizWiz_test_00000000.jpg

Scored as by the VizWiz API (copy in TRI-ML/vlm-evaluation at d9f5896, util/evaluation/vizwiz) on
answers that LLaVA's EvalAI processor normalised first (scripts/convert_vizwiz_for_submission.py at
c121f04): only the prediction is normalised, the ten humans are taken as they wrote; leave-one-out
over them by position. The formula of other harnesses normalises both sides and gives other figures;
it stands in the details as `both_sides_normalised`.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from components.core.errors import DataError
from components.data.response_formats import MAY_BE_UNANSWERABLE, SHORT_ANSWER
from components.evaluation.benchmark import Prediction, Question
from components.evaluation.files import field, read_json
from components.evaluation.scoring.answers import leave_one_out, normalise_evalai, normalise_vizwiz
from components.evaluation.scoring.metrics import MeanAccuracy, percent_by, percent_by_meta
from components.evaluation.submissions import (
    Answer,
    Written,
    joined,
    read_unanswered,
    write_json,
)

UNANSWERABLE = "unanswerable"


class Vizwiz(MeanAccuracy):
    name = "vizwiz"
    title = "VizWiz"
    folder = "vizwiz"
    headline_name = "VQA accuracy, humans as written"
    max_new_tokens = 128  # llava/eval/model_vqa_loader.py
    published = {  # arXiv 2310.03744 table 3 (test-dev)
        "LLaVA-1.5-7B": 50.0, "LLaVA-1.5-13B": 53.6, "LLaVA-1.5-13B-HD": 57.5,
        "BLIP-2 Vic-13B": 19.6, "InstructBLIP 7B": 34.5, "InstructBLIP 13B": 33.4,
        "IDEFICS-9B": 35.5, "IDEFICS-80B": 36.0, "Qwen-VL": 35.2, "Qwen-VL-Chat": 38.9,
    }  # fmt: skip
    note = "validation split scored here; published figures are of test-dev, scored by EvalAI"

    def read(self, root: Path) -> list[Question]:
        path = root / "val.json"
        rows = read_json(path)
        if not isinstance(rows, list):
            raise DataError(f"{path}: expected a list of questions, found {type(rows).__name__}")
        return [self._question(root, row, f"{path}[{index}]") for index, row in enumerate(rows)]

    def _question(self, root: Path, row: Any, where: str) -> Question:
        if not isinstance(row, dict):
            raise DataError(f"{where}: expected an object, found {type(row).__name__}")
        image = str(field(row, "image", where))
        answers = field(row, "answers", where)
        if not isinstance(answers, list) or not answers:
            raise DataError(f"{where}: 'answers' is not a list with answers; this needs val.json")
        return Question(
            id=image,  # the official rows have no other name, and an image has one question
            benchmark=self.name,
            prompt=f"{field(row, 'question', where)}\n{MAY_BE_UNANSWERABLE}\n{SHORT_ANSWER}",
            target=[str(field(human, "answer", where)) for human in answers],
            image_path=str(root / "val" / image),
            group=image,
            max_new_tokens=self.max_new_tokens,
            meta={"answer_type": row.get("answer_type"), "answerable": row.get("answerable")},
        )

    def parse(self, raw: str, question: Question) -> str:
        return normalise_evalai(raw)

    def score(self, answer: str, question: Question) -> float:
        return leave_one_out(normalise_vizwiz(answer), question.target)

    def details(self, predictions: Sequence[Prediction]) -> dict[str, float]:
        details = {
            **percent_by_meta(predictions, "answer_type"),
            **percent_by(predictions, _answerable),
            **_unanswerability(predictions),
        }
        both = [_both_sides(prediction) for prediction in predictions]
        details["both_sides_normalised"] = 100.0 * sum(both) / len(both) if both else 0.0
        return details


def _answerable(prediction: Prediction) -> str | None:
    value = prediction.question.meta.get("answerable")
    return None if value is None else "answerable" if int(value) else UNANSWERABLE


def _both_sides(prediction: Prediction) -> float:
    if prediction.raw is None:
        return 0.0
    humans = [normalise_evalai(human) for human in prediction.question.target]
    return leave_one_out(prediction.answer, humans)


def _unanswerability(predictions: Sequence[Prediction]) -> dict[str, float]:
    """Return the API's second task: F1 and average precision of saying `unanswerable` where so.

    A prediction says it or not, so the precision-recall curve has two points: those who say it, and
    everyone. A missing answer does not say it.
    """
    told = [p for p in predictions if p.question.meta.get("answerable") is not None]
    truly = [_answerable(p) == UNANSWERABLE for p in told]
    said = [p.raw is not None and normalise_vizwiz(p.answer) == UNANSWERABLE for p in told]
    num_true, num_said = sum(truly), sum(said)
    if not num_true:
        return {}
    both = sum(a and b for a, b in zip(truly, said, strict=True))
    precision, recall = both / num_said if num_said else 0.0, both / num_true
    average = precision * recall + (1 - recall) * num_true / len(told)
    return {
        "unanswerability/f1": 100.0 * 2 * both / (num_true + num_said),
        "unanswerability/average_precision": 100.0 * average,
    }


class VizwizTest:
    """The upload of the test split: every image with its normalised answer."""

    name = "vizwiz-test"
    benchmark = "vizwiz"
    server = "https://eval.ai/web/challenges/challenge-page/2185/my-submission"
    file_name = "vizwiz_test.json"

    def read(self, root: Path) -> list[Question]:
        path = root / "llava_test.jsonl"
        return read_unanswered(path, self.benchmark, root / "test", Vizwiz.max_new_tokens)

    def write(self, root: Path, answers: Iterable[Answer], path: Path) -> Written:
        """The original's converter stops at a missing answer, and so does this."""
        questions = self.read(root)
        found = joined(self.name, [q.id for q in questions], answers, complete=True)
        rows = [
            {"image": q.meta["image"], "answer": normalise_evalai(found.raws[q.id])}
            for q in questions
        ]
        write_json(path, rows)
        return found.written(path, len(rows))


BENCHMARK = Vizwiz()
SUBMISSIONS = (VizwizTest(),)
