"""Decides whether a candidate may become champion: no benchmark clearly below the champion's.

In: the scores of both. Out: a report with a row per benchmark and the reasons in words. It moves no
alias and knows no registry.

"Clearly below" means beyond the tolerance and beyond the noise. The noise of a difference is
measured per question where both sides give scores for the same questions (paired, clustered by
image), and else taken from the two intervals. With many benchmarks the chance that noise alone
refuses an equal model adds up, so the level is shared among them (Bonferroni): `confidence` holds
for the whole gate.
"""

import math
from collections.abc import Iterable, Sequence
from statistics import NormalDist
from typing import Literal

from pydantic import Field

from components.core.config import Config
from components.registry.scores import ScoreRow, interval_text

Verdict = Literal[
    "as good", "better", "new", "clearly below", "below floor", "missing", "not comparable"
]
PASSING: tuple[Verdict, ...] = ("as good", "better", "new")

# A headline is taken for the mean of its per-question scores when they agree this closely, in
# points; F1 or MME's pair scores do not, and are compared by their intervals.
MEAN_AGREES_POINTS = 0.05


class GateConfig(Config):
    """When a candidate is refused."""

    confidence: float = Field(default=0.95, gt=0.5, lt=1.0)
    """Chance that a candidate as good as the champion passes, over all benchmarks together."""
    tolerance_points: float = Field(default=1.0, ge=0.0)
    """A drop up to this many points (of 100) never refuses."""
    tolerances: dict[str, float] = {}
    """Tolerance of single benchmarks, in points, in place of `tolerance_points`."""
    floors: dict[str, float] = {}
    """Score in points that a benchmark must reach whatever the champion has."""
    required: tuple[str, ...] = ()
    """Benchmarks that must be there even when the champion lacks them or there is no champion."""


class GateRow(Config):
    """The comparison on one benchmark, in points of 100."""

    benchmark: str
    candidate: float | None = None
    champion: float | None = None
    difference: float | None = None
    """Candidate minus champion."""
    allowed_drop: float | None = None
    """The largest drop that is not clearly below: the larger of tolerance and noise."""
    paired: bool = False
    """Whether the noise was measured question by question."""
    verdict: Verdict
    reason: str = ""


class GateReport(Config):
    """The gate's answer."""

    passed: bool
    rows: tuple[GateRow, ...] = ()
    reasons: tuple[str, ...] = ()
    """Why it refuses, one sentence each; empty when it passes."""

    def table(self) -> str:
        """Return the rows as a markdown table."""
        lines = [
            "| benchmark | candidate | champion | difference | allowed drop | verdict |",
            "|---|---|---|---|---|---|",
        ]
        for row in self.rows:
            numbers = (row.candidate, row.champion, row.difference, row.allowed_drop)
            shown = " | ".join("-" if number is None else f"{number:.1f}" for number in numbers)
            lines.append(f"| {row.benchmark} | {shown} | {row.verdict} |")
        return "\n".join(lines)


def decide(
    candidate_scores: Iterable[ScoreRow],
    champion_scores: Iterable[ScoreRow] | None,
    config: GateConfig,
) -> GateReport:
    """Return whether the candidate passes; `champion_scores=None` when there is no champion yet."""
    candidate = {row.benchmark: row for row in candidate_scores}
    champion = {row.benchmark: row for row in champion_scores or ()}
    expected = [*champion, *config.required, *config.floors]
    order = list(dict.fromkeys([*candidate, *expected]))
    num_compared = max(1, sum(name in champion for name in candidate))
    z = NormalDist().inv_cdf(1.0 - (1.0 - config.confidence) / num_compared)
    rows = tuple(_judge(name, candidate.get(name), champion.get(name), config, z) for name in order)
    reasons = tuple(row.reason for row in rows if row.verdict not in PASSING)
    return GateReport(passed=not reasons, rows=rows, reasons=reasons)


def _judge(
    name: str, candidate: ScoreRow | None, champion: ScoreRow | None, config: GateConfig, z: float
) -> GateRow:
    champion_percent = champion.percent if champion else None
    if candidate is None:
        source = "the champion has it" if champion else "the gate requires it"
        return GateRow(
            benchmark=name,
            champion=champion_percent,
            verdict="missing",
            reason=f"{name}: the candidate has no score, {source}; evaluate it on {name}",
        )
    row = GateRow(
        benchmark=name, candidate=candidate.percent, champion=champion_percent, verdict="new"
    )
    floor = config.floors.get(name)
    if math.isnan(candidate.percent) or (floor is not None and candidate.percent < floor):
        needed = "a number" if floor is None else f"at least {floor:.1f}"
        reason = f"{name}: {candidate.percent:.1f}, the gate requires {needed}"
        return row.with_(verdict="below floor", reason=reason)
    if champion is None:
        return row
    if (problem := _not_comparable(candidate, champion)) is not None:
        return row.with_(verdict="not comparable", reason=f"{name}: {problem}")
    error, paired = _standard_error(candidate, champion)
    difference = candidate.percent - champion.percent
    allowed = max(config.tolerances.get(name, config.tolerance_points), z * error)
    row = row.with_(difference=difference, allowed_drop=allowed, paired=paired)
    if difference < -allowed:
        reason = (
            f"{name}: {interval_text(candidate)} is {-difference:.1f} points below the champion's "
            f"{interval_text(champion)}; a drop up to {allowed:.1f} would be allowed"
        )
        return row.with_(verdict="clearly below", reason=reason)
    return row.with_(verdict="better" if difference > allowed else "as good")


def _not_comparable(candidate: ScoreRow, champion: ScoreRow) -> str | None:
    if math.isnan(champion.percent):
        return "the champion's score is not a number; evaluate the champion again"
    digests = (candidate.questions_digest, champion.questions_digest)
    if all(digests) and digests[0] != digests[1]:
        return (
            "candidate and champion were asked different questions "
            f"({digests[0][:8]} and {digests[1][:8]}); evaluate the champion on the candidate's"
        )
    if candidate.metric and champion.metric and candidate.metric != champion.metric:
        return f"candidate gives {candidate.metric}, champion {champion.metric}"
    return None


def _standard_error(candidate: ScoreRow, champion: ScoreRow) -> tuple[float, bool]:
    """Return the standard error of the difference in points, and whether it is paired."""
    if _is_mean(candidate) and _is_mean(champion):
        ours, theirs = candidate.per_question or {}, champion.per_question or {}
        if ours.keys() == theirs.keys():
            groups = candidate.groups or {}
            clusters: dict[str, list[float]] = {}
            for question in sorted(ours):
                difference = 100.0 * (ours[question] - theirs[question])
                clusters.setdefault(groups.get(question, question), []).append(difference)
            if len(clusters) > 1:
                return _clustered_error(list(clusters.values())), True
    return math.hypot(_interval_error(candidate), _interval_error(champion)), False


def _is_mean(row: ScoreRow) -> bool:
    if not row.per_question:
        return False
    mean = 100.0 * sum(row.per_question.values()) / len(row.per_question)
    return abs(mean - row.percent) < MEAN_AGREES_POINTS


def _clustered_error(clusters: Sequence[Sequence[float]]) -> float:
    """Return the standard error of the mean when the values of a cluster move together."""
    count = sum(len(cluster) for cluster in clusters)
    mean = sum(sum(cluster) for cluster in clusters) / count
    squares = sum(sum(value - mean for value in cluster) ** 2 for cluster in clusters)
    return math.sqrt(squares * len(clusters) / (len(clusters) - 1)) / count


def _interval_error(row: ScoreRow) -> float:
    if row.ci_low is None or row.ci_high is None:
        return 0.0
    half_width = (row.ci_high - row.ci_low) / 2.0
    return half_width / NormalDist().inv_cdf(0.5 + row.confidence / 2.0)
