"""OCR-VQA: questions about the title, author and genre of book covers.

In: <raw>/ocr_vqa/dataset.json, an object from book id to {questions, answers, split, imageURL,
title, authorName, genre}; images in ocr_vqa/images, all saved as .jpg whatever their URL ends in.
Out: one QuestionAnswer per question of the training split (split 1; 2 and 3 are validation and
test), those of a book one after another. Reference: https://ocr-vqa.github.io/.
"""

from collections.abc import Iterator

from components.data.raw.folder import RawPath
from components.data.raw.json_files import read_json_entries
from components.data.records import BadRecord, Rejected
from components.data.sources import fields
from components.data.sources.annotations import QuestionAnswer

FILE = "ocr_vqa/dataset.json"
TRAIN_SPLIT = 1


def read(root: RawPath) -> Iterator[QuestionAnswer | Rejected]:
    """Yield the questions in file order.

    A book whose questions and answers cannot be paired is rejected whole; a bad pair by itself.
    """
    path = root / FILE
    seen: set[object] = set()
    for index, (book, row) in enumerate(read_json_entries(path)):
        try:
            if fields.integer(row, "split") != TRAIN_SPLIT:
                continue
            questions, answers = fields.items(row, "questions"), fields.items(row, "answers")
            if len(questions) != len(answers):
                raise BadRecord(f"{len(questions)} questions but {len(answers)} answers")
            fields.once(seen, "book", book)
        except BadRecord as error:
            yield fields.rejected("ocrvqa", path, index, book, error)
            continue
        for number, (question, answer) in enumerate(zip(questions, answers, strict=True)):
            name = f"{book}-{number}"
            pair = {"question": question, "answer": answer}
            try:
                yield QuestionAnswer(
                    name,
                    f"ocr_vqa/images/{book}.jpg",
                    fields.text(pair, "question"),
                    fields.text(pair, "answer"),
                )
            except BadRecord as error:
                yield fields.rejected("ocrvqa", path, index, name, error)
