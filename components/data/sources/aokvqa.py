"""A-OKVQA: knowledge questions with options, one right.

In: <raw>/aokvqa/aokvqa_v1p0_train.json, an array of {image_id, question_id, question, choices,
correct_choice_idx, ...}. Out: one MultipleChoice per question. Reference:
https://allenai.org/project/a-okvqa.
"""

from collections.abc import Iterator

from components.data.raw.folder import RawPath
from components.data.raw.json_files import read_json_array
from components.data.records import BadRecord, Rejected
from components.data.sources import fields
from components.data.sources.annotations import MultipleChoice


def read(root: RawPath) -> Iterator[MultipleChoice | Rejected]:
    """Yield the questions in file order."""
    path = root / "aokvqa" / "aokvqa_v1p0_train.json"
    seen: set[object] = set()
    for index, row in read_json_array(path):
        try:
            choices = fields.texts(row, "choices")
            correct = fields.integer(row, "correct_choice_idx")
            if not 0 <= correct < len(choices) or not 2 <= len(choices) <= 26:
                raise BadRecord(f"correct_choice_idx {correct} of {len(choices)} choices")
            name, question = fields.text(row, "question_id"), fields.text(row, "question")
            image = fields.coco_image(fields.integer(row, "image_id"))
            fields.once(seen, "question_id", name)
            yield MultipleChoice(name, image, question, choices, correct)
        except BadRecord as error:
            yield fields.rejected(
                "aokvqa", path, index, fields.identity(row, "question_id", index), error
            )
