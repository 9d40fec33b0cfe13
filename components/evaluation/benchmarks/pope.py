"""POPE: is an object in the image? Three splits that differ in how the absent objects are drawn.

    coco_pope_{random,popular,adversarial}.json (JSON lines)
        {"question_id": 1, "image": "COCO_val2014_000000310196.jpg", "label": "yes",
         "text": "Is there a snowboard in the image?"}
    llava_pope_test.jsonl
        {"question_id": 0, "image": "COCO_val2014_000000310196.jpg", "category": "random",
         "text": "Is there a snowboard in the image?\\nAnswer the question using a single ..."}
    val2014/COCO_val2014_000000310196.jpg

LLaVA-1.5's figures are of 8,910 questions (2,910 random, POPE at e3e39262); POPE's present files
have 9,000. Both are read. Scored as by llava/eval/eval_pope.py at c121f04: text before the first
period, commas deleted, split at single spaces; `No`, `no` or `not` among the words is no and
everything else is yes (so are "NO", "Nope" and an empty answer). The original pairs answers with
labels by order; here a question finds its label by split, image and question text.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from components.core.errors import DataError
from components.data.response_formats import SHORT_ANSWER
from components.evaluation.benchmark import Counts, FloatArray, Prediction, Question
from components.evaluation.files import field, located_rows
from components.evaluation.scoring.metrics import ratio, tally

SPLITS = ("random", "popular", "adversarial")
_TP, _FP, _FN, _TN = range(4)


class Pope:
    name = "pope"
    title = "POPE"
    folder = "pope"
    headline_name = "F1, mean of 3 splits"
    full_maximum = 100.0
    max_new_tokens = 128  # llava/eval/model_vqa_loader.py
    # docs/MODEL_ZOO.md of haotian-liu/LLaVA for the first two; the others are means of the F1 by
    # split (arXiv 2310.03744 table 4): 7B 87.3 86.1 84.2, 13B 87.1 86.2 84.5, 13B-HD 87.5 86.4
    # 85.0, BLIP2-14B 89.6 85.5 80.9, InstructBLIP-14B 87.7 77.0 72.0, LLaVA-7B 76.3 72.2 70.1.
    published = {
        "LLaVA-1.5-7B": 85.9, "LLaVA-1.5-13B": 85.9, "LLaVA-1.5-13B-HD": 86.3,
        "BLIP2-14B": 85.3, "InstructBLIP-14B": 78.9, "LLaVA-7B": 72.9,
    }  # fmt: skip
    note = ""

    def read(self, root: Path) -> list[Question]:
        labels: dict[tuple[str, str, str], dict[str, Any]] = {}
        for split in SPLITS:
            path = root / f"coco_pope_{split}.json"
            for where, row in located_rows(path):
                key = (split, field(row, "image", where), field(row, "text", where))
                labels[key] = {**row, "label": field(row, "label", where)}
        prompted = root / "llava_pope_test.jsonl"
        if not prompted.exists():
            return [
                self._question(root, split, row, f"{text}\n{SHORT_ANSWER}", row)
                for (split, _, text), row in labels.items()
            ]
        questions = []
        for where, row in located_rows(prompted):
            split, prompt = field(row, "category", where), field(row, "text", where)
            key = (split, field(row, "image", where), prompt.removesuffix(SHORT_ANSWER).strip())
            if key not in labels:
                raise DataError(
                    f"{where}: no label in coco_pope_{split}.json for {key[1]} and {key[2]!r}; "
                    f"use question and label files of one version (8,910 or 9,000 questions)"
                )
            questions.append(self._question(root, split, labels[key], prompt, row))
        return questions

    def _question(
        self, root: Path, split: str, label: dict[str, Any], prompt: str, row: dict[str, Any]
    ) -> Question:
        return Question(
            id=f"{split}/{field(row, 'question_id', str(root))}",
            benchmark=self.name,
            prompt=prompt,
            target="no"
            if label["label"] == "no"
            else "yes",  # as the original: all but `no` is yes
            image_path=str(root / "val2014" / label["image"]),
            group=label["image"],
            max_new_tokens=self.max_new_tokens,
            meta={"split": split},
        )

    def parse(self, raw: str, question: Question) -> str:
        words = raw.split(".")[0].replace(",", "").split(" ")
        return "no" if "No" in words or "not" in words or "no" in words else "yes"

    def score(self, answer: str, question: Question) -> float:
        return float(answer == question.target)

    def count(self, predictions: Sequence[Prediction]) -> Counts:
        def entries() -> Iterator[tuple[str, int, float]]:
            for prediction in predictions:
                question = prediction.question
                right, truly_yes = prediction.score == 1.0, question.target == "yes"
                # A missing answer (score 0) is a miss on a yes question and a false alarm on a no
                # question.
                cell = (_TP if right else _FN) if truly_yes else (_TN if right else _FP)
                yield question.cluster, 4 * SPLITS.index(question.meta["split"]) + cell, 1.0

        return tally(entries(), num_columns=4 * len(SPLITS))

    def headline(self, totals: FloatArray) -> FloatArray:
        cells = totals.reshape(*totals.shape[:-1], len(SPLITS), 4)
        present = cells.sum(axis=-1) > 0
        f1 = ratio(2 * cells[..., _TP], 2 * cells[..., _TP] + cells[..., _FP] + cells[..., _FN])
        return 100.0 * ratio(np.where(present, f1, 0.0).sum(axis=-1), present.sum(axis=-1))

    def maximum(self, totals: FloatArray) -> float:
        return 100.0

    def details(self, predictions: Sequence[Prediction]) -> dict[str, float]:
        cells = self.count(predictions).table.sum(axis=0).reshape(len(SPLITS), 4)
        details: dict[str, float] = {}
        for split, (tp, fp, fn, tn) in zip(SPLITS, cells.tolist(), strict=True):
            total = tp + fp + fn + tn
            if total == 0:
                continue
            details |= {
                f"{split}/f1": 100.0 * 2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 0.0,
                f"{split}/accuracy": 100.0 * (tp + tn) / total,
                f"{split}/precision": 100.0 * tp / (tp + fp) if tp + fp else 0.0,
                f"{split}/recall": 100.0 * tp / (tp + fn) if tp + fn else 0.0,
                f"{split}/yes_ratio": 100.0 * (tp + fp) / total,
            }
        return details


BENCHMARK = Pope()
