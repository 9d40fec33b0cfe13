"""VQAv2 and OK-VQA: open questions about COCO images, answered by ten people each.

In: a file {"questions": [{question_id, image_id, question}]} and a file {"annotations":
[{question_id, answers: [{answer}, ...], ...}]}, as the VQA challenges publish them. Out: one
QuestionAnswer per question, in file order; one without annotation is rejected. The images are
read from coco/train2017, which holds those of train2014. Reference:
https://visualqa.org/vqa_v2_data_format, https://okvqa.allenai.org/download.html.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from components.data.raw.folder import RawPath
from components.data.raw.json_files import read_json_rows
from components.data.records import BadRecord, Rejected, check_unicode
from components.data.sources import fields
from components.data.sources.annotations import QuestionAnswer

VQAV2_FILES = (
    "vqav2/v2_OpenEnded_mscoco_train2014_questions.json",
    "vqav2/v2_mscoco_train2014_annotations.json",
)
OKVQA_FILES = (
    "okvqa/OpenEnded_mscoco_train2014_questions.json",
    "okvqa/mscoco_train2014_annotations.json",
)
"""Questions and annotations, below the raw folder."""


def read_vqav2(root: RawPath) -> Iterator[QuestionAnswer | Rejected]:
    """Yield the questions of VQAv2 with the majority answer that its annotations name."""
    return _read_pair(
        root,
        "vqav2",
        VQAV2_FILES,
        lambda annotation: fields.text(annotation, "multiple_choice_answer"),
    )


def read_okvqa(root: RawPath) -> Iterator[QuestionAnswer | Rejected]:
    """Yield the questions of OK-VQA, whose answer needs knowledge from outside the image.

    The released mixture has a row for each of the 8,998 images; which of the answers it took is
    not published. Here it is the one that most people gave.
    """
    return _read_pair(root, "okvqa", OKVQA_FILES, majority_answer)


def majority_answer(annotation: Any) -> str:
    """Return the most frequent `answer` of an annotation, the earliest of equals.

    It is the form that the official evaluation compares with. Raises BadRecord when there is none.
    """
    given = [
        answer["answer"].strip()
        for answer in fields.items(annotation, "answers")
        if isinstance(answer, dict) and isinstance(answer.get("answer"), str)
    ]
    counts = Counter(answer for answer in given if answer)
    if not counts:
        raise BadRecord("`answers` holds no answer")
    ((answer, _),) = counts.most_common(1)
    check_unicode(answer, "`answers`")
    return answer


def _read_pair(
    root: RawPath, source: str, files: tuple[str, str], answer_of: Callable[[Any], str]
) -> Iterator[QuestionAnswer | Rejected]:
    """Yield the questions in file order with the answer that `answer_of` takes from an annotation.

    `answer_of` may raise BadRecord. A question without annotation is rejected, and so is one whose
    id came before.
    """
    questions, annotations = (root / file for file in files)
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
