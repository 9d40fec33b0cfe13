"""VQAv2: open questions about COCO pictures, with the majority answer of ten people.

In: <raw>/vqav2/v2_OpenEnded_mscoco_train2014_questions.json and
v2_mscoco_train2014_annotations.json. Out: one QuestionAnswer per question. Reference:
https://visualqa.org/download.html.
"""

from collections.abc import Iterator

from components.data.raw.folder import RawPath
from components.data.records import Rejected
from components.data.sources import fields
from components.data.sources.annotations import QuestionAnswer
from components.data.sources.vqa_pairs import read_pair

QUESTIONS = "v2_OpenEnded_mscoco_train2014_questions.json"
ANNOTATIONS = "v2_mscoco_train2014_annotations.json"


def read(root: RawPath) -> Iterator[QuestionAnswer | Rejected]:
    """Yield the questions in file order; one without annotation is rejected."""
    folder = root / "vqav2"
    return read_pair(
        "vqav2",
        folder / QUESTIONS,
        folder / ANNOTATIONS,
        lambda annotation: fields.text(annotation, "multiple_choice_answer"),
    )
