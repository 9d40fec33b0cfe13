"""One benchmark from files to scores: read, ask (with and without the right pictures), score,
write.

In: the raw folder, a target, the settings. Out: `predictions.jsonl`, `predictions_blind.jsonl` and
`scores.json` in the output folder, and their record. It knows targets, not models.
"""

import json
import logging
from pathlib import Path

from components.core.errors import DataError
from components.evaluation.benchmark import get_benchmark, limited
from components.evaluation.config import BenchmarkScores, EvaluationConfig
from components.evaluation.controls import blind_questions
from components.evaluation.generate import Progress, ask
from components.evaluation.resume import ResumeLog
from components.evaluation.score import (
    BLIND_PREDICTIONS,
    PREDICTIONS,
    SCORES,
    predict,
    summarise,
    without_duplicates,
    write_predictions,
)
from components.evaluation.targets import Target

log = logging.getLogger(__name__)


def evaluate(
    config: EvaluationConfig,
    benchmark_name: str,
    raw_root: str | Path,
    target: Target,
    output_path: str | Path,
    resume_path: str | Path | None = None,
    on_progress: Progress | None = None,
) -> BenchmarkScores:
    """Return the scores of a target on one benchmark and write them with every prediction.

    `raw_root` is the raw folder whose `eval/` holds the benchmarks; `resume_path` (a folder or a
    store address) keeps the answers of an interrupted run. Raises DataError for files it cannot
    use, or when not one question could be answered.
    """
    benchmark = get_benchmark(benchmark_name)
    folder = Path(raw_root) / "eval" / benchmark.folder
    listed = benchmark.read(folder)
    questions = without_duplicates(listed)
    num_duplicates = len(listed) - len(questions)
    questions = limited(questions, config.limit, config.seed)
    passes = {"plain": questions}
    if config.blind_control:
        shuffled = blind_questions(questions, config.seed)
        if shuffled is None:
            log.warning("%s has fewer than two pictures: no blind control", benchmark.title)
        else:
            passes["blind"] = shuffled
    log.info("%s: %d questions, %s", benchmark.title, len(questions), " and ".join(passes))
    resume = ResumeLog(resume_path) if resume_path is not None else None
    raws = ask(target, passes, config.batch_size, resume, on_progress)
    if all(raw is None for raw in raws["plain"].values()):
        raise DataError(
            f"{benchmark.title}: not one of {len(questions)} questions could be answered; the "
            f"warnings above say why (is {folder} complete?)"
        )
    output = Path(output_path)
    output.mkdir(parents=True, exist_ok=True)
    predictions = predict(benchmark, questions, raws["plain"])
    write_predictions(output / PREDICTIONS, predictions)
    blind = None
    if "blind" in passes:
        blind = predict(benchmark, passes["blind"], raws["blind"])
        write_predictions(output / BLIND_PREDICTIONS, blind)
    scores = summarise(
        benchmark, predictions, blind, num_duplicates, config.bootstrap_samples, config.seed
    )
    record = json.dumps(scores.model_dump(mode="json", exclude={"uri", "digest"}), indent=2)
    (output / SCORES).write_text(record + "\n", encoding="utf-8")
    log.info(
        "%s: %.1f [%.1f, %.1f]",
        benchmark.title,
        scores.headline_percent,
        scores.ci_low,
        scores.ci_high,
    )
    return scores
