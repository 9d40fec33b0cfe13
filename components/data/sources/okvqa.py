"""OK-VQA: questions about COCO pictures whose answer needs knowledge from outside the picture.

In: <raw>/okvqa/OpenEnded_mscoco_train2014_questions.json and mscoco_train2014_annotations.json, in
which each of ten answers has the fields answer and raw_answer. Out: one QuestionAnswer per question
with the answer most people gave. The released mixture has a row for each of the 8,998 pictures;
which of the answers it took is not published. Reference: https://okvqa.allenai.org/download.html.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from components.data.raw.folder import RawPath
from components.data.records import BadRecord, Rejected, check_unicode
from components.data.sources import fields
from components.data.sources.annotations import QuestionAnswer
from components.data.sources.vqa_pairs import read_pair

QUESTIONS = "OpenEnded_mscoco_train2014_questions.json"
ANNOTATIONS = "mscoco_train2014_annotations.json"


def read(root: RawPath) -> Iterator[QuestionAnswer | Rejected]:
    """Yield the questions in file order; one without annotation or answer is rejected."""
    folder = root / "okvqa"
    return read_pair("okvqa", folder / QUESTIONS, folder / ANNOTATIONS, majority_answer)


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
