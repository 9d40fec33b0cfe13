"""How many rows LLaVA-1.5 was trained on, and how far prepared data are from it.

In: the rows kept of each source. Out: the published counts and a sentence for each difference.
Never an error: a part of the data is a fair thing to train on. Cheap to import, for recipes.
Reference: haotian-liu/LLaVA issue 702 (the maintainer's exact counts) and README.
"""

from collections.abc import Mapping

PUBLISHED_ROWS = {
    "llava_pretrain": 558_128,
    "llava_instruct": 157_712,
    "sharegpt": 40_688,
    "vqav2": 82_783,
    "gqa": 72_140,
    "okvqa": 8_998,
    "ocrvqa": 80_000,
    "aokvqa": 66_160,
    "textcaps": 21_953,
    "refcoco": 48_447,
    "visual_genome": 86_417,
    "llava_mix665k": 665_298,
}
"""Rows of each source in the released files."""
_A_PART = 0.5
"""Below this share of the published rows a source is a part of it, and no difference is told."""


def published_rows(source: str, pilot: float = 1.0) -> int | None:
    """Return the published rows of a source, or of a pilot's share of it; None for an own source.

    `pilot` is `MixtureConfig.pilot`.
    """
    rows = PUBLISHED_ROWS.get(source)
    return None if rows is None else round(rows * pilot)


def unlike_published(rows: Mapping[str, int], pilot: float = 1.0) -> list[str]:
    """Return a sentence for each source that is about the published one, but not quite.

    `rows` are the rows kept of each source. A source with less than half of the published rows is
    taken for a part of it; a small data set gives no sentence at all.
    """
    sentences = []
    for source, kept in rows.items():
        expected = published_rows(source, pilot)
        # A share is rounded up in each stratum.
        slack = 0 if pilot == 1 else 10
        if expected is None or kept < _A_PART * expected or abs(kept - expected) <= slack:
            continue
        sentences.append(
            f"{source} has {kept:,} rows where LLaVA-1.5 has {expected:,} "
            f"({(kept - expected) / expected:+.1%})"
        )
    return sentences
