"""What happened to the rows while preparing: counts that add up, reasons, lengths, duplicates.

In: each kept or rejected row. Out: totals and the document of summary.json. Holds no times or
paths of the machine, so that equal input gives equal bytes.
"""

import re
from collections import Counter
from typing import Any

from components.data.order import stable_hash
from components.data.published import differences, published_rows
from components.data.records import Record, Rejected

_REASON_CHARACTERS = 60
_FIRST_REJECTS = 3


class Summary:
    """Counts rows as they pass; `pilot` is the share of the sources that was taken."""

    def __init__(self, pilot: float = 1.0) -> None:
        self._pilot = pilot
        self.num_tokens = 0
        self.num_supervised = 0
        self.first_rejects: list[Rejected] = []
        self._kept: Counter[str] = Counter()
        self._rejected: Counter[str] = Counter()
        self._reasons: dict[str, Counter[str]] = {}
        self._text_only: Counter[str] = Counter()
        self._lengths: Counter[int] = Counter()
        self._images: set[int] = set()
        self._seen: set[int] = set()
        self._longest = 0

    @property
    def num_rows(self) -> int:
        return self._kept.total()

    @property
    def num_rejected(self) -> int:
        return self._rejected.total()

    @property
    def num_images(self) -> int:
        return len(self._images)

    def duplicate_of(self, record: Record) -> str | None:
        """Return a reason when this very row came before; an id may recur with other content."""
        key = stable_hash(
            record.source, record.id, record.image, *(turn.text for turn in record.turns)
        )
        if key in self._seen:
            return f"duplicate: the same row with id {record.id} came before"
        self._seen.add(key)
        return None

    def keep(self, row: dict[str, Any]) -> None:
        """Count a row that is written."""
        self._kept[row["source"]] += 1
        self.num_tokens += row["num_tokens"]
        self.num_supervised += row["num_supervised"]
        # Buckets of powers of two: 64 counts the rows of 33 to 64 positions.
        self._lengths[1 << (row["num_tokens"] - 1).bit_length()] += 1
        self._longest = max(self._longest, row["num_tokens"])
        if row["image_index"] < 0:
            self._text_only[row["source"]] += 1
        else:
            self._images.add(row["image_index"])

    def reject(self, rejected: Rejected) -> None:
        """Count a row that is left out."""
        self._rejected[rejected.source] += 1
        self._reasons.setdefault(rejected.source, Counter())[kind_of(rejected.reason)] += 1
        if len(self.first_rejects) < _FIRST_REJECTS:
            self.first_rejects.append(rejected)

    def kept_by_source(self) -> dict[str, int]:
        return dict(sorted(self._kept.items()))

    def differences(self) -> list[str]:
        """Return a sentence for each source that is not quite what LLaVA-1.5 was trained on."""
        return differences(self.kept_by_source(), self._pilot)

    def document(self) -> dict[str, Any]:
        """Return what summary.json holds."""
        sources = {
            name: {
                "read": self._kept[name] + self._rejected[name],
                "kept": self._kept[name],
                "published": published_rows(name, self._pilot),
                "rejected": self._rejected[name],
                "text_only": self._text_only[name],
                "reasons": dict(sorted(self._reasons.get(name, Counter()).items())),
            }
            for name in sorted(set(self._kept) | set(self._rejected))
        }
        return {
            "read": self.num_rows + self.num_rejected,
            "kept": self.num_rows,
            "rejected": self.num_rejected,
            "images": self.num_images,
            "tokens": self.num_tokens,
            "supervised_tokens": self.num_supervised,
            "longest_row": self._longest,
            "rows_up_to_length": {
                str(length): self._lengths[length] for length in sorted(self._lengths)
            },
            "sources": sources,
        }


def kind_of(reason: str) -> str:
    """Return what a reason has in common with others: no path, no number, no quoted text."""
    text = re.sub(r"^image .+(?= does not exist$)|^image .+?(?=: )", "image", reason)
    text = re.sub(r"'[^']*'", "'...'", text)
    return re.sub(r"\d[\d,]*", "#", text)[:_REASON_CHARACTERS]
