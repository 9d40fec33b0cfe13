"""A benchmark's score as the registry sees it: a number of 100, its interval, its origin.

In: values from the evaluation floor, which this floor does not know. Out: `ScoreRow`, used by the
versions, the gate and the card alike.
"""

from pydantic import Field

from components.core.config import Config


class ScoreRow(Config):
    """One benchmark's headline score of one model."""

    benchmark: str
    percent: float
    """Headline score on a scale of 0 to 100; MME's share of its maximum."""
    ci_low: float | None = None
    ci_high: float | None = None
    confidence: float = Field(default=0.95, gt=0.0, lt=1.0)
    """Coverage of [ci_low, ci_high]."""
    metric: str = ""
    """What the headline is: f1, accuracy, ..."""
    value: float | None = None
    """The score in the benchmark's own unit where that is not a percentage (MME: a sum)."""
    blind_percent: float | None = None
    """The same questions with images shuffled: what is scored without seeing."""
    num_questions: int = 0
    questions_digest: str = ""
    """Digest of the questions; scores on different questions are not compared."""
    uri: str = ""
    """Folder of predictions and scores in the store."""
    per_question: dict[str, float] | None = None
    """Score in 0..1 by question id, for the paired comparison. Not stored in the registry."""
    groups: dict[str, str] | None = None
    """Cluster (image, question pair) by question id; absent: each question by itself."""

    def without_questions(self) -> "ScoreRow":
        """Return the row as the registry keeps it, without per-question scores."""
        return self.with_(per_question=None, groups=None)

    @property
    def metric_name(self) -> str:
        """`eval/pope/f1`: the name of the headline in MLflow."""
        return f"eval/{self.benchmark}/{self.metric or 'score'}"


def interval_text(row: ScoreRow) -> str:
    """Return `87.3 [85.1, 89.2]`, with the benchmark's own value in front where it has one."""
    text = f"{row.percent:.1f}"
    if row.ci_low is not None and row.ci_high is not None:
        text += f" [{row.ci_low:.1f}, {row.ci_high:.1f}]"
    return f"{row.value:.1f} ({text})" if row.value is not None else text
