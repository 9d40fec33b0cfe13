"""What happened to the rows while preparing: counts that add up, reasons, lengths.

In: each kept or rejected row. Out: totals that can be added up and written down, and the document
of summary.json. Holds no times or paths of the machine, so that equal input gives equal bytes.
"""

import re
from collections import Counter
from typing import Any, Self

from components.data.mixture.published import published_rows, unlike_published
from components.data.records import Rejected

_REASON_CHARACTERS = 60
_COUNTERS = ("kept", "rejected", "text_only", "lengths", "validation")


class Summary:
    """Counts rows as they pass."""

    def __init__(self) -> None:
        self.num_tokens = 0
        self.num_supervised = 0
        self.longest = 0
        self.kept: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()
        self.text_only: Counter[str] = Counter()
        self.validation: Counter[str] = Counter()
        self.lengths: Counter[str] = Counter()
        self.reasons: dict[str, Counter[str]] = {}

    @property
    def num_rows(self) -> int:
        return self.kept.total()

    @property
    def num_rejected(self) -> int:
        return self.rejected.total()

    def keep(self, row: dict[str, Any], held_out: bool = False) -> None:
        """Count a row that is written."""
        self.kept[row["source"]] += 1
        self.validation[row["source"]] += held_out
        self.num_tokens += row["num_tokens"]
        self.num_supervised += row["num_supervised"]
        # Buckets of powers of two: 64 counts the rows of 33 to 64 positions.
        self.lengths[str(1 << (row["num_tokens"] - 1).bit_length())] += 1
        self.longest = max(self.longest, row["num_tokens"])
        self.text_only[row["source"]] += row["image_index"] < 0

    def reject(self, rejected: Rejected) -> None:
        """Count a row that is left out."""
        self.rejected[rejected.source] += 1
        self.reasons.setdefault(rejected.source, Counter())[reason_kind(rejected.reason)] += 1

    def add(self, other: "Summary") -> None:
        """Count the rows of another summary too."""
        self.num_tokens += other.num_tokens
        self.num_supervised += other.num_supervised
        self.longest = max(self.longest, other.longest)
        for name in _COUNTERS:
            getattr(self, name).update(getattr(other, name))
        for source, reasons in other.reasons.items():
            self.reasons.setdefault(source, Counter()).update(reasons)

    def to_json(self) -> dict[str, Any]:
        """Return the counts as plain values."""
        return dict(vars(self))

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Return the summary of `to_json`."""
        summary = cls()
        for name in ("num_tokens", "num_supervised", "longest"):
            setattr(summary, name, values[name])
        for name in _COUNTERS:
            setattr(summary, name, Counter(values[name]))
        summary.reasons = {source: Counter(kinds) for source, kinds in values["reasons"].items()}
        return summary

    def kept_by_source(self) -> dict[str, int]:
        return dict(sorted(self.kept.items()))

    def differences(self, pilot: float) -> list[str]:
        """Return a sentence for each source that is not quite what LLaVA-1.5 was trained on."""
        return unlike_published(self.kept_by_source(), pilot)

    def document(self, num_images: int, pilot: float) -> dict[str, Any]:
        """Return what summary.json holds; `pilot` is the share of the sources that was taken."""
        sources = {
            name: {
                "read": self.kept[name] + self.rejected[name],
                "kept": self.kept[name],
                "published": published_rows(name, pilot),
                "rejected": self.rejected[name],
                "text_only": self.text_only[name],
                "validation": self.validation[name],
                "reasons": dict(sorted(self.reasons.get(name, Counter()).items())),
            }
            for name in sorted(set(self.kept) | set(self.rejected))
        }
        return {
            "read": self.num_rows + self.num_rejected,
            "kept": self.num_rows,
            "rejected": self.num_rejected,
            "validation": self.validation.total(),
            "images": num_images,
            "tokens": self.num_tokens,
            "supervised_tokens": self.num_supervised,
            "longest_row": self.longest,
            "rows_up_to_length": {
                length: self.lengths[length] for length in sorted(self.lengths, key=int)
            },
            "sources": sources,
        }


def reason_kind(reason: str) -> str:
    """Return what a reason has in common with others: no path, no number, no quoted text."""
    text = re.sub(r"^image .+(?= does not exist$)|^image .+?(?=: )", "image", reason)
    text = re.sub(r"'[^']*'", "'...'", text)
    return re.sub(r"\d[\d,]*", "#", text)[:_REASON_CHARACTERS]
