"""VQAv2: open questions about COCO images, ten human answers each.

The test-dev answers are not public, so the published figure comes from a server (EvalAI 830). Here
the official validation split is scored with the official formula.

    v2_OpenEnded_mscoco_val2014_questions.json
        {"questions": [{"image_id": 262148, "question": "Where is he looking?",
                        "question_id": 262148000}]}
    v2_mscoco_val2014_annotations.json
        {"annotations": [{"question_id": 262148000, "image_id": 262148, "answer_type": "other",
          "answers": [{"answer": "down", "answer_confidence": "yes", "answer_id": 1}, ...]}]}
    llava_vqav2_val.jsonl (optional)
        {"question_id": 262148000, "image": "COCO_val2014_000000262148.jpg",
         "text": "Where is he looking?\\nAnswer the question using a single word or phrase."}
    val2014/COCO_val2014_000000262148.jpg
    llava_vqav2_mscoco_test-dev2015.jsonl, llava_vqav2_mscoco_test2015.jsonl (for the submission)
        {"question_id": 262144000, "image": "COCO_test2015_000000262144.jpg", "category": "default",
         "text": "Is the ball flying towards the batter?\\nAnswer the question using a single ..."}
    test2015/COCO_test2015_000000262144.jpg

Scored as by GT-Vision-Lab/VQA vqaEval.py at a013f00, on answers that LLaVA's EvalAI processor
normalised first (scripts/convert_vqav2_for_submission.py at c121f04). If all ten humans agree, the
tool normalises neither side.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from components.core.errors import DataError
from components.data.response_formats import SHORT_ANSWER
from components.evaluation.benchmark import Prediction, Question
from components.evaluation.files import field, located_rows, read_list, read_prompts
from components.evaluation.scoring.answers import (
    leave_one_out,
    normalise_evalai,
    normalise_vqa,
    one_line,
)
from components.evaluation.scoring.metrics import MeanAccuracy, percent_by
from components.evaluation.submissions import (
    Answer,
    Written,
    joined,
    read_unanswered,
    write_json,
)


class Vqav2(MeanAccuracy):
    name = "vqav2"
    title = "VQAv2"
    folder = "vqav2"
    headline_name = "VQA accuracy"
    max_new_tokens = 128  # llava/eval/model_vqa_loader.py
    published = {  # arXiv 2310.03744 table 3 (test-dev)
        "LLaVA-1.5-7B": 78.5, "LLaVA-1.5-13B": 80.0, "LLaVA-1.5-13B-HD": 81.8,
        "BLIP-2 Vic-13B": 65.0, "Shikra 13B": 77.4, "IDEFICS-9B": 50.9, "IDEFICS-80B": 60.0,
        "Qwen-VL": 78.8, "Qwen-VL-Chat": 78.2,
    }  # fmt: skip
    note = "validation split scored here; published figures are of test-dev, scored by EvalAI"

    def read(self, root: Path) -> list[Question]:
        asked = root / "v2_OpenEnded_mscoco_val2014_questions.json"
        answered = root / "v2_mscoco_val2014_annotations.json"
        annotations = {
            field(row, "question_id", str(answered)): row
            for row in read_list(answered, "annotations")
        }
        prompts = read_prompts(root / "llava_vqav2_val.jsonl")
        questions = []
        for index, entry in enumerate(read_list(asked, "questions")):
            where = f"{asked}[{index}]"
            key = field(entry, "question_id", where)
            if key not in annotations:
                raise DataError(
                    f"{where}: {answered} does not annotate question {key}; use files of one split"
                )
            annotation, row = annotations[key], prompts.get(str(key), {})
            image = (
                row.get("image") or f"COCO_val2014_{int(field(entry, 'image_id', where)):012d}.jpg"
            )
            questions.append(
                Question(
                    id=str(key),
                    benchmark=self.name,
                    prompt=row.get("text") or f"{field(entry, 'question', where)}\n{SHORT_ANSWER}",
                    target=[field(human, "answer", where) for human in annotation["answers"]],
                    image_path=str(root / "val2014" / image),
                    group=image,
                    max_new_tokens=self.max_new_tokens,
                    meta={"answer_type": annotation.get("answer_type")},
                )
            )
        return questions

    def parse(self, raw: str, question: Question) -> str:
        return normalise_evalai(raw)

    def score(self, answer: str, question: Question) -> float:
        answer, humans = one_line(answer), [one_line(human) for human in question.target]
        if len(set(humans)) > 1:
            answer, humans = normalise_vqa(answer), [normalise_vqa(human) for human in humans]
        return leave_one_out(answer, humans)

    def details(self, predictions: Sequence[Prediction]) -> dict[str, float]:
        return percent_by(
            predictions, lambda prediction: prediction.question.meta.get("answer_type")
        )


class Vqav2TestDev:
    """The upload of test-dev: 107,394 questions are asked, and the file covers the whole of test
    2015 (447,793), for the server takes no less; what was not asked is an empty answer.
    """

    name = "vqav2-test-dev"
    benchmark = "vqav2"
    server = "https://eval.ai/web/challenges/challenge-page/830/my-submission"
    file_name = "vqav2_test-dev2015.json"

    def read(self, root: Path) -> list[Question]:
        path = root / "llava_vqav2_mscoco_test-dev2015.jsonl"
        return read_unanswered(path, self.benchmark, root / "test2015", Vqav2.max_new_tokens)

    def write(self, root: Path, answers: Iterable[Answer], path: Path) -> Written:
        whole = root / "llava_vqav2_mscoco_test2015.jsonl"
        keys = [field(row, "question_id", where) for where, row in located_rows(whole)]
        found = joined(self.name, [str(key) for key in keys], answers, complete=False)
        # An empty answer is written as it is: the processor would not change it.
        rows = [
            {"question_id": key, "answer": normalise_evalai(found.raws.get(str(key), ""))}
            for key in keys
        ]
        write_json(path, rows)
        asked = {question.id for question in self.read(root)}
        missing = len(asked - found.raws.keys())
        return Written(path, len(rows), missing, found.num_duplicates, found.num_unknown)


BENCHMARK = Vqav2()
SUBMISSIONS = (Vqav2TestDev(),)
