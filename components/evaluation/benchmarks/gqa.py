"""GQA: compositional questions about real images, test-dev balanced (12,578 questions, 398
images).

    testdev_balanced_questions.json
        {"201307251": {"imageId": "n161313", "question": "Is it overcast?", "answer": "no",
         "isBalanced": true, "types": {"structural": "verify", "semantic": "global"}, ...}}
    llava_gqa_testdev_balanced.jsonl
        {"question_id": "201307251", "image": "n161313.jpg", "category": "default",
         "text": "Is it overcast?\\nAnswer the question using a single word or phrase."}
    images/n161313.jpg

Scored as by scripts/convert_gqa_for_eval.py of LLaVA at c121f04 (every final period off, lower
case, nothing else) and Stanford's eval.py patched for test-dev: exact equality with the answer as
written, balanced questions only, binary = every structural type but `query`.
"""

from collections.abc import Sequence
from pathlib import Path

from components.core.errors import DataError
from components.data.response_formats import SHORT_ANSWER
from components.evaluation.benchmark import Prediction, Question
from components.evaluation.files import field, read_json, read_prompts
from components.evaluation.scoring.metrics import MeanAccuracy, percent_by, percent_by_meta


class Gqa(MeanAccuracy):
    name = "gqa"
    title = "GQA"
    folder = "gqa"
    max_new_tokens = 128  # llava/eval/model_vqa_loader.py
    published = {  # arXiv 2310.03744 table 3
        "LLaVA-1.5-7B": 62.0, "LLaVA-1.5-13B": 63.3, "LLaVA-1.5-13B-HD": 64.7,
        "BLIP-2 Vic-13B": 41.0, "InstructBLIP 7B": 49.2, "InstructBLIP 13B": 49.5,
        "IDEFICS-9B": 38.4, "IDEFICS-80B": 45.2, "Qwen-VL": 59.3, "Qwen-VL-Chat": 57.5,
    }  # fmt: skip
    note = ""

    def read(self, root: Path) -> list[Question]:
        annotated = root / "testdev_balanced_questions.json"
        entries = read_json(annotated)
        if not isinstance(entries, dict):
            raise DataError(f"{annotated}: expected an object of questions by id")
        prompts = read_prompts(root / "llava_gqa_testdev_balanced.jsonl")
        questions = []
        for key, entry in entries.items():
            where = f"{annotated}[{key}]"
            if not entry.get("isBalanced", True):
                continue
            row = prompts.get(key, {})
            types = entry.get("types", {})
            image = row.get("image") or f"{field(entry, 'imageId', where)}.jpg"
            questions.append(
                Question(
                    id=str(key),
                    benchmark=self.name,
                    prompt=row.get("text") or f"{field(entry, 'question', where)}\n{SHORT_ANSWER}",
                    target=field(entry, "answer", where),
                    image_path=str(root / "images" / image),
                    group=image,
                    max_new_tokens=self.max_new_tokens,
                    meta={name: types.get(name) for name in ("structural", "semantic")},
                )
            )
        return questions

    def parse(self, raw: str, question: Question) -> str:
        return raw.rstrip(".").lower()

    def score(self, answer: str, question: Question) -> float:
        return float(answer == question.target)

    def details(self, predictions: Sequence[Prediction]) -> dict[str, float]:
        def kind(prediction: Prediction) -> str | None:
            structural = prediction.question.meta.get("structural")
            return structural and ("open" if structural == "query" else "binary")

        return {
            **percent_by(predictions, kind),
            **percent_by_meta(predictions, "structural"),
            **percent_by_meta(predictions, "semantic"),
        }


BENCHMARK = Gqa()
