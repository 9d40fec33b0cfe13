"""GQA: compositional questions with short answers.

In: <raw>/gqa/train_balanced_questions.json, an object from question id to {imageId, question,
answer, ...}; images in gqa/images. Out: one QuestionAnswer per question. Reference:
https://cs.stanford.edu/people/dorarad/gqa/.
"""

from collections.abc import Iterator

from components.data.raw.folder import RawPath
from components.data.raw.json_files import read_json_entries
from components.data.records import BadRecord, Rejected
from components.data.sources import fields
from components.data.sources.annotations import QuestionAnswer


def read(root: RawPath) -> Iterator[QuestionAnswer | Rejected]:
    """Yield the questions in file order."""
    path = root / "gqa" / "train_balanced_questions.json"
    seen: set[object] = set()
    for index, (question_id, row) in enumerate(read_json_entries(path)):
        try:
            image = f"gqa/images/{fields.text(row, 'imageId')}.jpg"
            question, answer = fields.text(row, "question"), fields.text(row, "answer")
            fields.once(seen, "question id", question_id)
            yield QuestionAnswer(question_id, image, question, answer)
        except BadRecord as error:
            yield fields.rejected("gqa", path, index, question_id, error)
