"""LLaVA-Bench (in the Wild): 60 open questions about 24 images, held by a judge against GPT-4's
answers.

    questions.jsonl     {"question_id": 0, "image": "001.jpg", "category": "conv", "text": "..."}
    context.jsonl       {"id": "001", "image": "001.jpg", "caption": "..."}
    answers_gpt4.jsonl  {"question_id": 0, "text": "...", "answer_id": "...", "model_id": "gpt-4"}
    rule.json           {"llava_bench_conv": {"role": "Assistant", "prompt": "..."}, ...}
                        (llava/eval/table/rule.json of the original, laid beside the questions)
    images/001.jpg

Judged as by llava/eval/eval_gpt_review_bench.py at c121f04: the judge sees the image's caption,
the question, the reference and the answer, and writes two numbers on its first line. They are read
when the line, its commas turned into spaces, is exactly two numbers between single spaces. Score:
100 x mean of the answer / mean of the reference, also by category (summarize_gpt_review.py). The
original stores a review it cannot read as -1, -1 and averages it in; here such a review is left out
and counted, and `official/...` in the details is what the original's formula gives. The original
joins the files by their order; here by id.
"""

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from components.core.errors import DataError
from components.evaluation.benchmark import (
    Counts,
    FloatArray,
    Judgement,
    JudgeRequest,
    Prediction,
    Question,
)
from components.evaluation.files import field, located_rows, read_json
from components.evaluation.judge.offline_proxy import word_f1
from components.evaluation.scoring.metrics import ratio, tally

SOURCE = "eval_gpt_review_bench.py@c121f04"
SYSTEM = "You are a helpful and precise assistant for checking the quality of the answer."
_FAILED = (-1.0, -1.0)
_CANDIDATE, _REFERENCE = range(2)


class LlavaBench:
    name = "llava_bench"
    title = "LLaVA-Bench"
    folder = "llava-bench-in-the-wild"
    headline_name = "judge's mean for the answers of its mean for the reference"
    full_maximum = 100.0
    max_new_tokens = 1024  # llava/eval/model_vqa.py
    published = {  # arXiv 2310.03744 table 4
        "LLaVA-1.5-7B": 65.4, "LLaVA-1.5-13B": 72.5, "LLaVA-1.5-13B-HD": 72.0,
        "BLIP2-14B": 38.1, "InstructBLIP-8B": 60.9, "InstructBLIP-14B": 58.2, "LLaVA-7B": 62.8,
    }  # fmt: skip
    official_judge = "gpt-4-0314"
    missing_rule = "go to the judge as empty ones"
    note = ""

    def read(self, root: Path) -> list[Question]:
        path = root / "questions.jsonl"
        captions = _by(root / "context.jsonl", "image", "caption")
        references = _by(root / "answers_gpt4.jsonl", "question_id", "text")
        rules = _rules(root / "rule.json")
        questions = []
        for where, row in located_rows(path):
            key, image = str(field(row, "question_id", where)), str(field(row, "image", where))
            category = str(field(row, "category", where))
            rule = _found(rules, f"llava_bench_{category}", where, "rule.json")
            questions.append(
                Question(
                    id=key,
                    benchmark=self.name,
                    prompt=field(row, "text", where),
                    target=_found(references, key, where, "answers_gpt4.jsonl"),
                    image_path=str(root / "images" / image),
                    group=image,
                    max_new_tokens=self.max_new_tokens,
                    meta={
                        "category": category,
                        "context": _found(captions, image, where, "context.jsonl"),
                        "role": rule["role"],
                        "rule": rule["prompt"],
                    },
                )
            )
        return questions

    def parse(self, raw: str, question: Question) -> str:
        return raw

    def score(self, answer: str, question: Question) -> float:
        return word_f1(answer, question.target)

    def prompt_version(self, question: Question) -> str:
        rule = [question.meta["role"], question.meta["rule"]]
        digest = hashlib.sha256(json.dumps(rule).encode()).hexdigest()
        return f"{SOURCE}, rule {digest[:8]}"

    def requests(self, question: Question, raw: str | None) -> tuple[JudgeRequest, ...]:
        """The one review; a missing answer is reviewed as an empty one."""
        meta = question.meta
        parts = (
            f"[Context]\n{meta['context']}\n\n",
            f"[Question]\n{question.prompt}\n\n",
            _answer(f"{meta['role']} 1", question.target),
            _answer(f"{meta['role']} 2", raw or ""),
            f"[System]\n{meta['rule']}\n\n",
        )
        return (JudgeRequest("".join(parts), temperature=0.2, max_tokens=1024, system=SYSTEM),)

    def readable(self, reply: str) -> bool:
        return read_pair(reply) is not None

    def grade(self, judgements: Sequence[Judgement], question: Question) -> float | None:
        pairs = _pairs(judgements)
        candidate = sum(pair[1] for pair in pairs) / len(pairs) if pairs else None
        return None if candidate is None else min(max(candidate / 10, 0.0), 1.0)

    def kind(self, prediction: Prediction) -> str | None:
        return str(prediction.question.meta["category"])

    def count(self, predictions: Sequence[Prediction]) -> Counts:
        def entries() -> Iterator[tuple[str, int, float]]:
            for prediction in predictions:
                pairs = _pairs(prediction.judgements)
                runs = max(1, len(pairs))
                cluster = prediction.question.cluster
                yield cluster, _CANDIDATE, sum(pair[1] for pair in pairs) / runs
                yield cluster, _REFERENCE, sum(pair[0] for pair in pairs) / runs

        return tally(entries(), num_columns=2)

    def headline(self, totals: FloatArray) -> FloatArray:
        return 100.0 * ratio(totals[..., _CANDIDATE], totals[..., _REFERENCE])

    def maximum(self, totals: FloatArray) -> float:
        return 100.0 if totals[_REFERENCE] else 0.0

    def details(self, predictions: Sequence[Prediction]) -> dict[str, float]:
        groups: dict[str, list[Prediction]] = {}
        for prediction in predictions:
            groups.setdefault(str(self.kind(prediction)), []).append(prediction)
        details: dict[str, float] = {}
        for name, members in sorted(groups.items()):
            totals = self.count(members).table.sum(axis=0)
            if totals[_REFERENCE]:
                details[name] = float(self.headline(totals))
        for name, members in [("all", list(predictions)), *sorted(groups.items())]:
            official = _official(members)
            if official is not None:
                details[f"official/{name}"] = official
        pairs = [pair for p in predictions for pair in _pairs(p.judgements)]
        details["mean_reference"] = sum(pair[0] for pair in pairs) / max(1, len(pairs))
        details["mean_answer"] = sum(pair[1] for pair in pairs) / max(1, len(pairs))
        off_scale = [pair for pair in pairs if not all(1 <= value <= 10 for value in pair)]
        details["reviews_off_scale"] = float(len(off_scale))
        return details


def read_pair(review: str) -> tuple[float, float] | None:
    """Return (reference, answer) as the original reads them, None where it reads -1, -1.

    Not a number is no grade either; the original would average it into a score that is none.
    """
    words = review.split("\n")[0].replace(",", " ").split(" ")
    if len(words) != 2:
        return None
    try:
        pair = float(words[0]), float(words[1])
    except ValueError:
        return None
    return pair if all(map(math.isfinite, pair)) else None


def _pairs(judgements: Sequence[Judgement]) -> list[tuple[float, float]]:
    return [pair for each in judgements if (pair := _pair(each)) is not None]


def _pair(judgement: Judgement) -> tuple[float, float] | None:
    if judgement.error or not judgement.replies:
        return None
    return read_pair(judgement.replies[-1])


def _official(predictions: Sequence[Prediction]) -> float | None:
    """Return what the original prints: failures in, means rounded before the ratio."""
    rows = [_pair(judgement) or _FAILED for p in predictions for judgement in p.judgements]
    if not rows:
        return None
    reference, answer = (round(mean, 3) for mean in np.asarray(rows).mean(0).tolist())
    return round(answer / reference * 100, 1) if reference else None


def _answer(name: str, text: str) -> str:
    return f"[{name}]\n{text}\n\n[End of {name}]\n\n"


def _by(path: Path, key: str, value: str) -> dict[str, str]:
    """Return one field by another of a JSON lines file; lists of sentences become lines."""
    result = {}
    for where, row in located_rows(path):
        text = field(row, value, where)
        result[str(field(row, key, where))] = "\n".join(text) if isinstance(text, list) else text
    return result


def _rules(path: Path) -> dict[str, dict[str, str]]:
    rules = read_json(path)
    if not isinstance(rules, dict):
        raise DataError(f"{path}: expected an object of rules, such as 'llava_bench_conv'")
    for name, rule in rules.items():
        for part in ("role", "prompt"):
            if not isinstance(rule, dict) or not isinstance(rule.get(part), str):
                raise DataError(f"{path}: rule {name!r} has no text {part!r}")
    return rules


def _found(table: Mapping[str, Any], key: str, where: str, file: str) -> Any:
    if key not in table:
        raise DataError(f"{where}: {file} has no {key!r}; use the files of one release")
    return table[key]


BENCHMARK = LlavaBench()
