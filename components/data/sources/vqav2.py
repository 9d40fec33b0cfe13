"""VQAv2: open questions about COCO pictures, with the majority answer of ten people.

In: <raw>/vqav2/v2_OpenEnded_mscoco_train2014_questions.json and
v2_mscoco_train2014_annotations.json. Out: one QuestionAnswer per question; the pictures are read
from coco/train2017, which holds those of train2014. Reference: https://visualqa.org/download.html.
"""

from collections.abc import Iterator
from pathlib import Path

from components.data.annotations import QuestionAnswer
from components.data.json_files import read_json_rows
from components.data.records import BadRecord, Rejected
from components.data.sources import fields

QUESTIONS = "v2_OpenEnded_mscoco_train2014_questions.json"
ANNOTATIONS = "v2_mscoco_train2014_annotations.json"


def read(root: Path) -> Iterator[QuestionAnswer | Rejected]:
    """Yield the questions in file order; one without annotation is rejected."""
    answers_path = root / "vqav2" / ANNOTATIONS
    # Only the majority answer is kept; ten answers to each of 443,757 questions fill the memory.
    answers = {
        row.get("question_id"): {"multiple_choice_answer": row.get("multiple_choice_answer")}
        for _, row in read_json_rows(answers_path, "annotations")
        if isinstance(row, dict)
    }
    path = root / "vqav2" / QUESTIONS
    for index, row in read_json_rows(path, "questions"):
        try:
            question_id = fields.integer(row, "question_id")
            annotation = answers.get(question_id)
            if annotation is None:
                raise BadRecord(f"no annotation in {ANNOTATIONS}")
            yield QuestionAnswer(
                str(question_id),
                fields.coco_image(fields.integer(row, "image_id")),
                fields.text(row, "question"),
                fields.text(annotation, "multiple_choice_answer"),
            )
        except BadRecord as error:
            yield fields.rejected(
                "vqav2", path, index, fields.identity(row, "question_id", index), error
            )
