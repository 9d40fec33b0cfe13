"""Groceries: does the model list only the fruit of an image, as JSON? The house's own check, not
one of the twelve.

    questions.jsonl
        {"question_id": 0, "image": "000000.png", "text": "List only the fruit in this image ...",
         "target": ["apple"], "nutrition": [{"name": "apple", "nutrition": {"calories": 52, ...}}],
         "fruit": ["apple", "banana", ...]}
    images/000000.png

The answer must parse as JSON: a list of objects (or one object), each with a `name`. The headline
is the share of images whose answer parses and names nothing but fruit of that image, at least
one where there is one; `exact` also wants every fruit; `nutrition` also wants the table's four
numbers for each; `names_fruit_alone` only wants names out of `fruit`, all that counts as fruit.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from components.evaluation.benchmark import Prediction, Question
from components.evaluation.files import field, located_rows
from components.evaluation.scoring.metrics import MeanAccuracy

NOT_JSON = "not JSON"


class Grocery(MeanAccuracy):
    name = "grocery"
    title = "groceries (JSON)"
    folder = "grocery"
    headline_name = "images answered with only their fruit"
    max_new_tokens = 256  # five fruit with four numbers each, in the tiny tokenizer
    published: dict[str, float] = {}
    note = "this project's own check, not one of the twelve"

    def read(self, root: Path) -> list[Question]:
        path = root / "questions.jsonl"
        questions = []
        for where, row in located_rows(path):
            image = str(field(row, "image", where))
            questions.append(
                Question(
                    id=str(field(row, "question_id", where)),
                    benchmark=self.name,
                    prompt=field(row, "text", where),
                    target=sorted(field(row, "target", where)),
                    image_path=str(_image_path(root, image)),
                    group=image,
                    max_new_tokens=self.max_new_tokens,
                    meta={
                        "objects": row.get("nutrition") or [],
                        "fruit": field(row, "fruit", where),
                    },
                )
            )
        return questions

    def parse(self, raw: str, question: Question) -> str:
        """Return the sorted names as a JSON list, or `not JSON`."""
        items = _items(raw)
        return NOT_JSON if items is None else json.dumps(sorted({name for name, _ in items}))

    def score(self, answer: str, question: Question) -> float:
        if answer == NOT_JSON:
            return 0.0
        named, shown = set(json.loads(answer)), set(question.target)
        return float(named <= shown and bool(named) == bool(shown))

    def details(self, predictions: Sequence[Prediction]) -> dict[str, float]:
        total = max(1, len(predictions))
        names = [_names(prediction) for prediction in predictions]
        shown = [set(prediction.question.target) for prediction in predictions]
        exact = [found == truth for found, truth in zip(names, shown, strict=True)]
        fruit = [
            found is not None and found <= set(prediction.question.meta["fruit"])
            for found, prediction in zip(names, predictions, strict=True)
        ]
        full = [e and _nutrition_right(p) for e, p in zip(exact, predictions, strict=True)]
        return {
            "parses": 100.0 * sum(found is not None for found in names) / total,
            "names_fruit_alone": 100.0 * sum(fruit) / total,
            "exact": 100.0 * sum(exact) / total,
            "nutrition": 100.0 * sum(full) / total,
        }


def _names(prediction: Prediction) -> set[str] | None:
    if prediction.raw is None or prediction.answer == NOT_JSON:
        return None
    return set(json.loads(prediction.answer))


def _items(raw: str) -> list[tuple[str, dict[str, Any]]] | None:
    """Return (lower-case name, object) pairs; None unless all are JSON objects with a name."""
    try:
        value = json.loads(raw)
    except ValueError:
        return None
    rows = value if isinstance(value, list) else [value]
    if not all(isinstance(row, dict) and isinstance(row.get("name"), str) for row in rows):
        return None
    return [(row["name"].strip().lower(), row) for row in rows]


def _nutrition_right(prediction: Prediction) -> bool:
    table = {row["name"]: row["nutrition"] for row in prediction.question.meta["objects"]}
    found = _items(prediction.raw or "") or []
    return all(row.get("nutrition") == table.get(name) for name, row in found)


def _image_path(root: Path, image: str) -> Path:
    return root / image if (root / image).exists() else root / "images" / image


BENCHMARK = Grocery()
