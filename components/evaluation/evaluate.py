"""One benchmark from files to scores: read, ask (with and without the right images),
judge, score, write.

In: the raw folder, a target, the settings. Out: `predictions.jsonl`, those of the controls and
`scores.json` in the output folder, and their record. It knows targets, not models.
"""

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from components.core.errors import DataError
from components.evaluation.benchmark import (
    Benchmark,
    JudgedBenchmark,
    Question,
    get_benchmark,
    limited,
)
from components.evaluation.config import BenchmarkScores, EvaluationConfig
from components.evaluation.controls import blind_questions, text_only_questions
from components.evaluation.resume import ResumeLog
from components.evaluation.scoring.score import (
    BLIND_PREDICTIONS,
    PREDICTIONS,
    SCORES,
    TEXT_ONLY_PREDICTIONS,
    predict,
    summarise,
    without_duplicates,
    write_predictions,
)
from components.evaluation.targets.asking import Progress, ask
from components.evaluation.targets.checkpoint import Target

if TYPE_CHECKING:
    from components.evaluation.judge.judge import ApiKey, Judgements

log = logging.getLogger(__name__)

PLAIN, BLIND, TEXT_ONLY = "plain", "blind", "text_only"
FILES = {PLAIN: PREDICTIONS, BLIND: BLIND_PREDICTIONS, TEXT_ONLY: TEXT_ONLY_PREDICTIONS}


def evaluate(
    config: EvaluationConfig,
    benchmark_name: str,
    raw_root: str | Path,
    target: Target,
    output_path: str | Path,
    resume_path: str | Path | None = None,
    on_progress: Progress | None = None,
    judge_key: "ApiKey" = None,
) -> BenchmarkScores:
    """Return the scores of a target on one benchmark and write them with every prediction.

    `raw_root` is the raw folder whose `eval/` holds the benchmarks; `resume_path` (a folder or a
    store address) keeps the answers and judgements of an interrupted run; `judge_key` opens the
    judge's endpoint. Raises DataError for files it cannot use, or when not one question could be
    answered; EndpointError or ConfigError when a configured judge gives no grade.
    """
    benchmark = get_benchmark(benchmark_name)
    folder = Path(raw_root) / "eval" / benchmark.folder
    listed = benchmark.read(folder)
    questions = without_duplicates(listed)
    num_duplicates = len(listed) - len(questions)
    passes = _passes(config, benchmark, limited(questions, config.limit, config.seed))
    log.info("%s: %d questions, %s", benchmark.title, len(passes[PLAIN]), " and ".join(passes))
    resume = ResumeLog(resume_path) if resume_path is not None else None
    raws = ask(target, passes, config.batch_size, resume, on_progress)
    if all(raw is None for raw in raws[PLAIN].values()):
        raise DataError(
            f"{benchmark.title}: not one of {len(passes[PLAIN])} questions could be answered; the "
            f"warnings above say why (is {folder} complete?)"
        )
    judgements = _judgements(config, benchmark, passes, raws, judge_key, resume_path)
    output = Path(output_path)
    output.mkdir(parents=True, exist_ok=True)
    predictions = {
        name: predict(benchmark, asked, raws[name], judgements.get(name))
        for name, asked in passes.items()
    }
    for name, rows in predictions.items():
        write_predictions(output / FILES[name], rows)
    scores = summarise(
        benchmark,
        predictions[PLAIN],
        predictions.get(BLIND),
        num_duplicates,
        config.bootstrap_samples,
        config.seed,
        predictions.get(TEXT_ONLY),
    )
    record = json.dumps(scores.model_dump(mode="json", exclude={"uri", "digest"}), indent=2)
    (output / SCORES).write_text(record + "\n", encoding="utf-8")
    log.info(
        "%s: %.1f [%.1f, %.1f]",
        scores.title,
        scores.headline_percent,
        scores.ci_low,
        scores.ci_high,
    )
    return scores


def _passes(
    config: EvaluationConfig, benchmark: Benchmark, questions: list[Question]
) -> dict[str, list[Question]]:
    """Return the questions of each pass: as they are, and under the controls that are on."""
    passes = {PLAIN: questions}
    if config.blind_control:
        shuffled = blind_questions(questions, config.seed)
        if shuffled is None:
            log.warning(
                "%s has fewer than two images: without the control other image", benchmark.title
            )
        else:
            passes[BLIND] = shuffled
    if config.text_only_control:
        bare = text_only_questions(questions)
        if bare is None:
            log.warning("%s has no images: without the control no image", benchmark.title)
        else:
            passes[TEXT_ONLY] = bare
    return passes


def _judgements(
    config: EvaluationConfig,
    benchmark: Benchmark,
    passes: dict[str, list[Question]],
    raws: dict[str, dict[str, str | None]],
    judge_key: "ApiKey",
    resume_path: str | Path | None,
) -> "dict[str, Judgements]":
    """Return the judgements of each pass; none where the benchmark or the settings have no judge.

    The controls are judged too: a difference to another measure would say nothing.
    """
    if not isinstance(benchmark, JudgedBenchmark):
        return {}
    if config.judge is None:
        log.warning("%s is not judged: an offline proxy stands in", benchmark.title)
        return {}
    from components.evaluation.judge.judge import Judge

    kept_at = None if resume_path is None else f"{resume_path}/judge"
    return Judge(config.judge, judge_key, kept_at).judge(benchmark, passes, raws)
