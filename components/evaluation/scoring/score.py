"""From raw answers to scores, and from a predictions file to the same scores without a model.

In: questions with raw answers joined by id. Out: predictions (one JSON line per question with
prompt, raw output, parsed answer, target and score) and `BenchmarkScores` with intervals. It asks
nobody.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from components.core.errors import DataError
from components.evaluation.benchmark import (
    Benchmark,
    Counts,
    FloatArray,
    JudgedBenchmark,
    Judgement,
    Prediction,
    Question,
    get_benchmark,
)
from components.evaluation.config import BenchmarkScores
from components.evaluation.files import field, read_json, read_jsonl
from components.evaluation.judge.facts import JudgeFacts, judged_by, read_judgements
from components.evaluation.judge.offline_proxy import OfflineProxy, scored_as
from components.evaluation.scoring.statistics import Headline, compare, interval

PREDICTIONS = "predictions.jsonl"
BLIND_PREDICTIONS = "predictions_blind.jsonl"
TEXT_ONLY_PREDICTIONS = "predictions_text_only.jsonl"
SCORES = "scores.json"


@runtime_checkable
class LeavesMissingOut(Protocol):
    """A benchmark whose official headline does not count a missing answer as wrong."""

    missing_rule: str
    """What happens to missing answers, after "n answers are missing and ..."."""


def without_duplicates(questions: Sequence[Question]) -> list[Question]:
    """Return the questions with each id once; of several the last one counts."""
    return list({question.id: question for question in questions}.values())


def predict(
    benchmark: Benchmark,
    questions: Sequence[Question],
    raws: Mapping[str, str | None],
    judgements: Mapping[str, tuple[Judgement, ...]] | None = None,
) -> list[Prediction]:
    """Return one prediction per question; a question without an answer is parsed as nothing and
    scores 0.

    Where a judge was asked its grade is the score.
    """
    predictions = []
    for question in questions:
        raw = raws.get(question.id)
        found = (judgements or {}).get(question.id, ())
        answer = "" if raw is None else benchmark.parse(raw, question)
        grade: float | None = 0.0
        if found and isinstance(benchmark, JudgedBenchmark):
            grade = benchmark.grade(found, question)
        elif raw is not None:
            grade = benchmark.score(answer, question)
        graded = grade is not None
        predictions.append(Prediction(question, raw, answer, grade or 0.0, found, graded))
    return predictions


def summarise(
    benchmark: Benchmark,
    predictions: Sequence[Prediction],
    blind: Sequence[Prediction] | None = None,
    num_duplicates: int = 0,
    samples: int = 2000,
    seed: int = 0,
    text_only: Sequence[Prediction] | None = None,
) -> BenchmarkScores:
    """Return the scores of predictions, with intervals and the differences to the controls."""
    if not predictions:
        raise DataError(f"{benchmark.name}: no questions to score; its question file is empty")
    benchmark = scored_as(benchmark, predictions)
    counts = benchmark.count(predictions)
    totals = counts.table.sum(axis=0)
    maximum = benchmark.maximum(totals)
    if maximum == 0:
        raise DataError(
            f"{benchmark.name}: none of the {len(predictions)} questions counts for the headline"
        )

    def percent(sums: FloatArray) -> FloatArray:
        return 100.0 * benchmark.headline(sums) / maximum

    found = interval(counts, percent, samples, seed)

    def control(other: Sequence[Prediction] | None, name: str, apart: str) -> dict[str, Any]:
        return _control(benchmark, counts, other, percent, samples, seed, name, apart)

    judged = judged_by(benchmark, predictions, [*(blind or ()), *(text_only or ())])
    num_missing = sum(prediction.raw is None for prediction in predictions)
    return BenchmarkScores(
        benchmark=benchmark.name,
        title=benchmark.title,
        headline_name=benchmark.headline_name,
        headline_percent=found.value,
        ci_low=found.low,
        ci_high=found.high,
        score=float(benchmark.headline(totals)),
        score_maximum=maximum,
        **control(blind, "blind", "difference"),
        **control(text_only, "text_only", "text_only_difference"),
        comparable=not isinstance(benchmark, OfflineProxy),
        judge_model=judged.model,
        judge_prompt=judged.prompt,
        num_judge_failures=judged.num_failures,
        num_questions=len(predictions),
        num_missing=num_missing,
        num_duplicates=num_duplicates,
        published=dict(benchmark.published),
        note=_note(benchmark, maximum, num_missing, len(predictions), judged),
        details=benchmark.details(predictions),
    )


def score_predictions(folder: str | Path, samples: int = 2000, seed: int = 0) -> BenchmarkScores:
    """Return the scores of a folder that `evaluate` wrote, computed anew from its raw outputs,
    without a model.
    """
    path = Path(folder)
    benchmark, predictions = read_predictions(path / PREDICTIONS)
    blind, text_only = (
        read_predictions(path / name)[1] if (path / name).exists() else None
        for name in (BLIND_PREDICTIONS, TEXT_ONLY_PREDICTIONS)
    )
    earlier = read_json(path / SCORES) if (path / SCORES).exists() else {}
    num_duplicates = int(earlier.get("num_duplicates", 0))
    return summarise(benchmark, predictions, blind, num_duplicates, samples, seed, text_only)


def write_predictions(path: Path, predictions: Sequence[Prediction]) -> None:
    """Write one JSON line per question; images are named, not copied."""
    with path.open("w", encoding="utf-8") as file:
        for prediction in predictions:
            file.write(json.dumps(_row(prediction)) + "\n")


def read_predictions(path: str | Path) -> tuple[Benchmark, list[Prediction]]:
    """Return the benchmark and its predictions, parsed and scored anew from the raw outputs.

    Of a judged benchmark whose rows carry no judgement it is the offline proxy. `path` is a
    predictions file, or the folder that `evaluate` wrote it to. Raises DataError for an empty file
    or rows of several benchmarks.
    """
    path = Path(path) / PREDICTIONS if Path(path).is_dir() else Path(path)
    rows = read_jsonl(path)
    names = {field(row, "benchmark", f"{path}:{number}") for number, row in enumerate(rows, 1)}
    if len(names) != 1:
        raise DataError(
            f"{path}: expected the predictions of one benchmark, found {sorted(names) or 'none'}"
        )
    benchmark = get_benchmark(names.pop())
    questions = [_question(row, f"{path}:{number}") for number, row in enumerate(rows, start=1)]
    raws = {row["question_id"]: row.get("raw") for row in rows}
    judgements = {
        row["question_id"]: read_judgements(row.get("judgements", []), f"{path}:{number}")
        for number, row in enumerate(rows, start=1)
    }
    predictions = predict(benchmark, without_duplicates(questions), raws, judgements)
    return scored_as(benchmark, predictions), predictions


def _control(
    benchmark: Benchmark,
    counts: Counts,
    predictions: Sequence[Prediction] | None,
    percent: Headline,
    samples: int,
    seed: int,
    name: str,
    apart: str,
) -> dict[str, Any]:
    """Return a control's fields of the scores and those of the headline's difference to it."""
    if predictions is None:
        return {}
    other = benchmark.count(predictions)
    fields: dict[str, Any] = {
        f"num_{name}_missing": sum(prediction.raw is None for prediction in predictions)
    }
    if benchmark.maximum(other.table.sum(axis=0)) == 0:  # every judgement of it failed
        return fields
    found = interval(other, percent, samples, seed)
    gap = compare(counts, other, percent, samples, seed)
    return fields | {
        f"{name}_percent": found.value,
        f"{name}_ci_low": found.low,
        f"{name}_ci_high": found.high,
        f"{apart}_percent": gap.difference,
        f"{apart}_ci_low": gap.low,
        f"{apart}_ci_high": gap.high,
    }


def _row(prediction: Prediction) -> dict[str, Any]:
    question = prediction.question
    image = question.image_key
    if image is not None and question.image_bytes is None:
        image = Path(image).name
    row = {
        "question_id": question.id,
        "benchmark": question.benchmark,
        "image": image,
        "prompt": question.prompt,
        "raw": prediction.raw,
        "answer": prediction.answer,
        "target": question.target,
        "score": prediction.score if prediction.graded else None,
        "group": question.group,
        "meta": question.meta,
    }
    if prediction.judgements:
        row["judgements"] = [asdict(judgement) for judgement in prediction.judgements]
    return row


def _question(row: dict[str, Any], where: str) -> Question:
    return Question(
        id=field(row, "question_id", where),
        benchmark=row["benchmark"],
        prompt=field(row, "prompt", where),
        target=field(row, "target", where),
        image_path=row.get("image"),
        group=row.get("group", ""),
        meta=row.get("meta", {}),
    )


def _note(
    benchmark: Benchmark, maximum: float, num_missing: int, num_questions: int, judged: JudgeFacts
) -> str:
    counted = (
        benchmark.missing_rule if isinstance(benchmark, LeavesMissingOut) else "count as wrong"
    )
    missing = f"incomplete: {num_missing} of {num_questions} answers are missing and {counted}"
    subset = f"only parts worth {maximum:,.0f} of {benchmark.full_maximum:,.0f} points are present"
    parts = (
        missing if num_missing else "",
        subset if maximum < benchmark.full_maximum else "",
        judged.note,
        benchmark.note,
    )
    return "; ".join(part for part in parts if part)
