"""TextVQA: questions that need reading, validation split (5,000 questions), ten human answers each.

    TextVQA_0.5.1_val.json
        {"data": [{"question_id": 34602, "image_id": "003a8ae2ef43b901",
                   "question": "what is the brand of this camera?",
                   "answers": ["nous les gosses", "dakota", ... ten of them]}]}
    llava_textvqa_val_v051_ocr.jsonl
        {"question_id": "003a8ae2ef43b901", "image": "003a8ae2ef43b901.jpg",
         "text": "what is the brand of this camera?\\nReference OCR token: DAKOTA\\nAnswer ..."}
    train_images/003a8ae2ef43b901.jpg

Scored as by llava/eval/eval_textvqa.py and m4c_evaluator.py at c121f04: rows join on (image id,
lower-cased question), both sides normalised, leave-one-out over the ten. The prompt carries OCR
tokens, so a model can answer without looking: without them LLaVA-1.5-7B has about 45.5 instead of
58.2. That is why the difference to the controls may be small here.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from components.core.errors import DataError
from components.evaluation.benchmark import Prediction, Question
from components.evaluation.files import field, located_rows, read_list
from components.evaluation.scoring.answers import leave_one_out, normalise_evalai
from components.evaluation.scoring.metrics import MeanAccuracy, percent_by

OCR_LINE = "Reference OCR token:"


class Textvqa(MeanAccuracy):
    name = "textvqa"
    title = "TextVQA"
    folder = "textvqa"
    headline_name = "VQA accuracy"
    max_new_tokens = 128  # llava/eval/model_vqa_loader.py
    published = {  # arXiv 2310.03744 table 3
        "LLaVA-1.5-7B": 58.2, "LLaVA-1.5-13B": 61.3, "LLaVA-1.5-13B-HD": 62.5,
        "BLIP-2 Vic-13B": 42.5, "InstructBLIP 7B": 50.1, "InstructBLIP 13B": 50.7,
        "IDEFICS-9B": 25.9, "IDEFICS-80B": 30.9, "Qwen-VL": 63.8, "Qwen-VL-Chat": 61.5,
    }  # fmt: skip
    note = "prompts carry OCR tokens, as in the published figures"

    def read(self, root: Path) -> list[Question]:
        annotated = root / "TextVQA_0.5.1_val.json"
        prompted = root / "llava_textvqa_val_v051_ocr.jsonl"
        entries = read_list(annotated, "data")
        annotations = {
            (
                str(field(entry, "image_id", f"{annotated}[{index}]")),
                str(field(entry, "question", f"{annotated}[{index}]")).lower(),
            ): entry
            for index, entry in enumerate(entries)
        }
        questions = []
        for where, row in located_rows(prompted):
            prompt, image = field(row, "text", where), field(row, "image", where)
            key = (Path(image).stem, question_of(prompt))
            if key not in annotations:  # the original's rows carry the image id as question_id
                key = (str(field(row, "question_id", where)), question_of(prompt))
            if key not in annotations:
                raise DataError(
                    f"{where}: {annotated} has no question {key[1]!r} on image {key[0]!r}; "
                    f"use question and annotation files of one version (0.5.1)"
                )
            questions.append(self._question(root, annotations[key], prompt, image))
        return questions

    def _question(
        self, root: Path, annotation: dict[str, Any], prompt: str, image: str
    ) -> Question:
        return Question(
            id=str(
                annotation.get("question_id", f"{annotation['image_id']}/{annotation['question']}")
            ),
            benchmark=self.name,
            prompt=prompt,
            target=annotation["answers"],
            image_path=str(root / "train_images" / image),
            group=image,
            max_new_tokens=self.max_new_tokens,
            meta={"ocr_tokens": OCR_LINE in prompt},
        )

    def parse(self, raw: str, question: Question) -> str:
        return normalise_evalai(raw)

    def score(self, answer: str, question: Question) -> float:
        return leave_one_out(answer, [normalise_evalai(human) for human in question.target])

    def details(self, predictions: Sequence[Prediction]) -> dict[str, float]:
        return percent_by(
            predictions,
            lambda p: (
                "with_ocr_tokens" if p.question.meta.get("ocr_tokens") else "without_ocr_tokens"
            ),
        )


def question_of(prompt: str) -> str:
    """Return the lower-cased question of a prompt: its first line, or its second where the OCR line
    comes first.
    """
    lines = prompt.split("\n")
    return (lines[1] if len(lines) > 2 and lines[0].startswith(OCR_LINE) else lines[0]).lower()


BENCHMARK = Textvqa()
