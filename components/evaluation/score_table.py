"""Scores as a table for people: each with its interval, its controls and the published figure.

In: `BenchmarkScores`. Out: a rich table, and the lines a reader must know beside it. It computes
nothing.
"""

import re
from collections.abc import Sequence

from rich.table import Table

from components.core.logs import new_table
from components.evaluation.config import OFFLINE_PROXY, BenchmarkScores

REFERENCE = "LLaVA-1.5-7B"

# What trackers allow in a name; MMBench has a category "finegrained_perception (cross-instance)".
_NOT_IN_METRIC_NAMES = re.compile(r"[^\w\-./: ]")


def score_table(scores: Sequence[BenchmarkScores], reference: str = REFERENCE) -> Table:
    """Return one row per benchmark, in the order given; no published figure beside a score that is
    not comparable.
    """
    table = new_table("Scores, 0 to 100")
    table.add_column("benchmark")  # wraps rather than losing its end
    bare = any(row.text_only_percent is not None for row in scores)
    names = ["score", "95% interval", "other\nimage", "difference"]
    names += ["no\nimage"] if bare else []
    for name in (*names, "published"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in scores:
        cells = [
            (row.title or row.benchmark) + (f" (-{row.num_missing:,})" if row.num_missing else ""),
            f"{row.headline_percent:.1f}",
            f"{row.ci_low:.1f} - {row.ci_high:.1f}",
            "-" if row.blind_percent is None else f"{row.blind_percent:.1f}",
            _difference(row.difference_percent, row.difference_ci_low, row.difference_ci_high),
        ]
        if bare:
            cells.append("-" if row.text_only_percent is None else f"{row.text_only_percent:.1f}")
        table.add_row(*cells, _published(row, reference))
    return table


def notes(scores: Sequence[BenchmarkScores]) -> list[str]:
    """Return what each score measures and what must be known before comparing: subsets, local
    splits, missing or repeated answers.
    """
    lines = []
    for row in scores:
        parts = [f"{row.num_questions:,} asked; {row.headline_name}"]
        if row.score_maximum != 100.0:
            parts.append(f"{row.score:,.1f} of {row.score_maximum:,.0f} points")
        parts += [row.note] if row.note else []
        if row.num_duplicates:
            parts.append(
                f"{row.num_duplicates} questions stand twice in the file; the last one counts"
            )
        if row.text_only_percent is not None:
            apart = _difference(
                row.text_only_difference_percent,
                row.text_only_difference_ci_low,
                row.text_only_difference_ci_high,
            )
            parts.append(f"no image {row.text_only_percent:.1f}, above it {apart}")
        if row.num_blind_missing:
            parts.append(f"{row.num_blind_missing} answers of the control other image are missing")
        if row.num_text_only_missing:
            parts.append(f"{row.num_text_only_missing} answers of the control no image are missing")
        if not is_comparable(row) and "not comparable" not in row.note.lower():
            parts.append("not comparable with published scores")
        lines.append(f"{row.title or row.benchmark}: {'; '.join(parts)}")
    return lines


def is_comparable(scores: BenchmarkScores) -> bool:
    """Return whether the scores may stand beside published ones; an offline stand-in for a judge
    may not.
    """
    return scores.comparable and "not comparable" not in scores.note.lower()


def metrics(scores: BenchmarkScores) -> dict[str, float]:
    """Return the numbers to track, named `eval/<benchmark>/...`; an offline proxy's are apart, so
    that no chart joins them with a judge's.
    """
    prefix = f"eval/{scores.benchmark}"
    if not scores.comparable:
        prefix += f"/{OFFLINE_PROXY}"
    named = {
        "score": scores.score,
        "percent": scores.headline_percent,
        "ci_low": scores.ci_low,
        "ci_high": scores.ci_high,
        "num_questions": float(scores.num_questions),
        "num_missing": float(scores.num_missing),
        "blind_percent": scores.blind_percent,
        "difference_percent": scores.difference_percent,
        "text_only_percent": scores.text_only_percent,
        "text_only_difference_percent": scores.text_only_difference_percent,
        "num_judge_failures": float(scores.num_judge_failures) if scores.judge_model else None,
        **scores.details,
    }
    return {
        _NOT_IN_METRIC_NAMES.sub("", f"{prefix}/{name}"): value
        for name, value in named.items()
        if value is not None
    }


def _difference(value: float | None, low: float | None, high: float | None) -> str:
    if value is None or low is None or high is None:
        return "-"
    return f"{value:+.1f} +-{(high - low) / 2:.1f}"


def _published(row: BenchmarkScores, reference: str) -> str:
    value = row.published.get(reference) if is_comparable(row) else None
    return "-" if value is None else f"{value:,.1f}"
