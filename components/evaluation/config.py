"""What an evaluation is asked to do, and the record it leaves.

Fast to import: no numpy, torch or Ray, so that a recipe can be parsed without them.
"""

from typing import Literal

from pydantic import Field

from components.core.artifact import Artifact
from components.core.config import Config

LLAVA15_BENCHMARKS = ("vqav2", "gqa", "textvqa", "pope", "mme", "mmbench")


REPORT = "report.html"
"""Name of the page that shows a model's results, among the files of whoever wrote it."""


class EvaluationConfig(Config):
    """How a model is asked and scored. Decoding is always greedy, as in LLaVA-1.5."""

    benchmarks: tuple[str, ...] = LLAVA15_BENCHMARKS
    """Names of the files under components/evaluation/benchmarks."""
    limit: int = Field(default=0, ge=0)
    """About so many questions per benchmark (whole images or groups, drawn by seed); 0 asks all."""
    batch_size: int = Field(default=32, ge=1)
    """Questions answered in one forward pass."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Number format of the weights while answering."""
    blind_control: bool = True
    """Ask every question again with another question's image; the difference shows that images are
    used.
    """
    bootstrap_samples: int = Field(default=2000, ge=100)
    """Resamples behind each interval."""
    seed: int = 0
    """Seed of the bootstrap, of the blind shuffle and of the draw that `limit` makes."""
    num_actors: int = Field(default=1, ge=1, json_schema_extra={"identity": False})
    """Ray actors that hold a copy of the model; shared by all benchmarks of one model."""
    cpus_per_actor: float = Field(default=1.0, ge=0, json_schema_extra={"identity": False})
    """Processor cores each actor reserves; also its number of torch threads."""
    gpus_per_actor: float = Field(default=0.0, ge=0, json_schema_extra={"identity": False})
    """GPUs each actor reserves; 0 answers on the CPU."""
    idle_timeout_s: float = Field(default=60.0, gt=0, json_schema_extra={"identity": False})
    """Seconds without work after which an actor leaves and frees its memory."""

    def for_benchmark(self, name: str) -> "EvaluationConfig":
        """Return the settings of one benchmark's step, so that its key does not depend on the other
        benchmarks.
        """
        return self.with_(benchmarks=(name,))


class BenchmarkScores(Artifact):
    """The scores of one model on one benchmark. Percents are 0..100; intervals are 95%."""

    benchmark: str
    title: str = ""
    """Name as shown in tables."""
    headline_name: str
    """What the headline measures, such as `F1, mean of 3 splits`."""
    headline_percent: float
    """The headline as a share of its maximum, 0..100: what the gate and the blind control compare.
    """
    ci_low: float
    ci_high: float
    score: float
    """The headline in the benchmark's own unit (MME: a sum); equal to the percent elsewhere."""
    score_maximum: float = 100.0
    """The largest `score` possible on the questions that were asked."""
    blind_percent: float | None = None
    """The same headline with shuffled images; None when the control was off or impossible."""
    blind_ci_low: float | None = None
    blind_ci_high: float | None = None
    difference_percent: float | None = None
    """Headline minus blind, with its paired interval."""
    difference_ci_low: float | None = None
    difference_ci_high: float | None = None
    num_questions: int
    num_missing: int = 0
    """Questions without an answer; each counts as wrong."""
    num_blind_missing: int = 0
    num_duplicates: int = 0
    """Rows whose id had been seen before; the last one counts."""
    published: dict[str, float] = Field(default_factory=dict)
    """Published scores in the benchmark's own unit, by model."""
    note: str = ""
    """What a reader must know before comparing (a subset of subtasks, a local split, OCR tokens in
    the prompt).
    """
    details: dict[str, float] = Field(default_factory=dict)
    """Sub-scores: splits, subtasks, question types."""
