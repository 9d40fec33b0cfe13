"""What an evaluation is asked to do, and the record it leaves.

Fast to import: no numpy, torch or Ray, so that a recipe can be parsed without them.
"""

from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from components.core.artifact import Artifact
from components.core.config import Config

LLAVA15_BENCHMARKS = (
    "vqav2", "gqa", "vizwiz", "scienceqa", "textvqa", "pope", "mme", "mmbench", "mmbench_cn",
    "seed", "llava_bench", "mm_vet",
)  # fmt: skip
"""The twelve of the paper (arXiv 2310.03744, tables 3 and 4), in its order."""

# Their answers are free text that a language model grades.
JUDGED_BENCHMARKS = ("llava_bench", "mm_vet")
# What stands in for a judge is called so in every title, note, metric and table.
OFFLINE_PROXY = "offline_proxy"


class JudgeConfig(Config):
    """The language model that grades free answers, behind any OpenAI-compatible endpoint.

    Its key is handed over by the caller and stands in no configuration.
    """

    base_url: str = Field(json_schema_extra={"identity": False})
    """Address of the endpoint, such as https://api.openai.com/v1."""
    model: str = Field(min_length=1)
    """The judge's name, pinned (gpt-4-0613, not gpt-4): scores of two judges are not comparable."""
    num_runs: int = Field(default=1, ge=1)
    """Times each answer is judged; grades are averaged (the paper of MM-Vet: 5)."""
    max_concurrency: int = Field(default=8, ge=1, json_schema_extra={"identity": False})
    """Requests in flight at once."""
    timeout_s: float = Field(default=120.0, gt=0, json_schema_extra={"identity": False})
    """Seconds to wait for a reply."""
    max_retries: int = Field(default=6, ge=0, json_schema_extra={"identity": False})
    """Times a request is repeated after a rate limit, a time-out or a failure of the endpoint."""
    first_wait_s: float = Field(default=1.0, gt=0, json_schema_extra={"identity": False})
    """Seconds before the first repetition, doubled each time; a longer Retry-After is kept to."""
    cache_uri: str | None = Field(default=None, json_schema_extra={"identity": False})
    """Folder or store address that keeps judgements; None: the evaluation's own resume folder."""

    @field_validator("base_url")
    @classmethod
    def _address_only(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("expected an address such as https://host/v1")
        if parts.username or parts.password or parts.query:
            raise ValueError("no key may stand in the address; hand it over apart")
        return value


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
    """The control *other image*: every question again with another question's image; the
    difference shows that images are used.
    """
    text_only_control: bool = False
    """The control *no image*: every question again with words alone; shows what they give away.
    Costs about half a pass: there is no image to encode.
    """
    judge: JudgeConfig | None = None
    """Grades LLaVA-Bench and MM-Vet; without one an offline proxy stands in, comparable with no
    published figure.
    """
    bootstrap_samples: int = Field(default=2000, ge=100)
    """Resamples behind each interval."""
    seed: int = 0
    """Seed of the bootstrap, of the shuffle of images and of the draw that `limit` makes."""
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
        judge = self.judge if name in JUDGED_BENCHMARKS else None
        return self.with_(benchmarks=(name,), judge=judge)


class BenchmarkScores(Artifact):
    """The scores of one model on one benchmark. Percents are 0..100; intervals are 95%."""

    benchmark: str
    title: str = ""
    """Name as shown in tables."""
    headline_name: str
    """What the headline measures, such as `F1, mean of 3 splits`."""
    headline_percent: float
    """The headline as a share of its maximum, 0..100: what the gate and the controls compare."""
    ci_low: float
    ci_high: float
    score: float
    """The headline in the benchmark's own unit (MME: a sum); equal to the percent elsewhere."""
    score_maximum: float = 100.0
    """The largest `score` possible on the questions that were asked."""
    blind_percent: float | None = None
    """The same headline in the control *other image*; None where it was off or impossible."""
    blind_ci_low: float | None = None
    blind_ci_high: float | None = None
    difference_percent: float | None = None
    """Headline minus `blind_percent`, with its paired interval."""
    difference_ci_low: float | None = None
    difference_ci_high: float | None = None
    text_only_percent: float | None = None
    """The same headline in the control *no image*; None where it was off or impossible."""
    text_only_ci_low: float | None = None
    text_only_ci_high: float | None = None
    text_only_difference_percent: float | None = None
    """Headline minus `text_only_percent`, with its paired interval."""
    text_only_difference_ci_low: float | None = None
    text_only_difference_ci_high: float | None = None
    comparable: bool = True
    """False for an offline proxy in a judge's place: comparable with itself alone."""
    judge_model: str = ""
    """Pinned name of the judge; empty where none was asked."""
    judge_prompt: str = ""
    """Version of the wording the judge was asked with."""
    num_judge_failures: int = 0
    """Judgements that could not be had or read; left out of the headline, never averaged in."""
    num_questions: int
    num_missing: int = 0
    """Questions without an answer; each counts as wrong."""
    num_blind_missing: int = 0
    num_text_only_missing: int = 0
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

    @property
    def metric(self) -> str:
        """What the percent is of: scores of different metrics must not be compared."""
        if not self.comparable:
            return OFFLINE_PROXY
        return f"percent_by_{self.judge_model}" if self.judge_model else "percent"
