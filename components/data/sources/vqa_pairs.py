"""Questions and answers in the two files of the VQA challenges, as VQAv2 and OK-VQA publish them.

In: a file {"questions": [{question_id, image_id, question}]} and a file {"annotations":
[{question_id, answers: [{answer}, ...], ...}]}. Out: one QuestionAnswer per question; the pictures
are read from coco/train2017, which holds those of train2014. Reference:
https://visualqa.org/vqa_v2_data_format; README of haotian-liu/LLaVA (the folder of the pictures).
"""

from collections.abc import Callable, Iterator
from typing import Any

from components.data.raw.folder import RawPath
from components.data.raw.json_files import read_json_rows
from components.data.records import BadRecord, Rejected
from components.data.sources import fields
from components.data.sources.annotations import QuestionAnswer


def read_pair(
    source: str, questions: RawPath, annotations: RawPath, answer_of: Callable[[Any], str]
) -> Iterator[QuestionAnswer | Rejected]:
    """Yield the questions in file order with the answer that `answer_of` takes from an annotation.

    `answer_of` may raise BadRecord. A question without annotation is rejected, and so is one whose
    id came before.
    """
    answers = _answers(annotations, answer_of)
    seen: set[object] = set()
    for index, row in read_json_rows(questions, "questions"):
        try:
            question_id = fields.integer(row, "question_id")
            answer = answers.get(question_id)
            if answer is None:
                raise BadRecord(f"no annotation in {annotations.name}")
            if isinstance(answer, BadRecord):
                raise answer
            image = fields.coco_image(fields.integer(row, "image_id"))
            question = fields.text(row, "question")
            fields.once(seen, "question_id", question_id)
            yield QuestionAnswer(str(question_id), image, question, answer)
        except BadRecord as error:
            yield fields.rejected(
                source, questions, index, fields.identity(row, "question_id", index), error
            )


def _answers(path: RawPath, answer_of: Callable[[Any], str]) -> dict[int, str | BadRecord]:
    """The answer of each question, or why it has none.

    Only that is kept; ten answers to each of VQAv2's 443,757 questions fill the memory.
    """
    answers: dict[int, str | BadRecord] = {}
    for _, row in read_json_rows(path, "annotations"):
        try:
            question_id = fields.integer(row, "question_id")
        except BadRecord:
            continue  # its question is rejected for want of an annotation
        try:
            answers[question_id] = answer_of(row)
        except BadRecord as error:
            answers[question_id] = error
    return answers
