"""A `Gallery` as one HTML page (`page.html`): no script, no other file, nothing fetched.

In: the gallery. Out: the page's text. Images are PNG, so that each pixel is the model's.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from components.core.pages.page import PageImage, embedded, render
from components.data.gallery.samples import Gallery, Shown

_NUM_BINS = 32
_MOST_BARS = 12
_SMALL_PX = 224


@dataclass(frozen=True, slots=True)
class Bin:
    """Rows whose lengths lie between two numbers of positions, both included."""

    low: int
    high: int
    rows: int


def gallery_page(gallery: Gallery) -> str:
    """Return the page as HTML text."""
    lengths, cut = gallery.lengths, gallery.lengths.get(gallery.view.max_tokens, 0)
    mean = sum(length * rows for length, rows in lengths.items()) / gallery.num_rows
    return render(
        "data/gallery/page.html",
        title=gallery.title,
        gallery=gallery,
        bins=_bins(lengths),
        lengths=f"mean {mean:,.0f}, longest {max(lengths):,}"
        + (f", {cut:,} at the limit" if cut else ""),
        sources=_largest(gallery.composition),
        rejected=_largest(gallery.reasons),
        samples=[(sample, _page_image(sample)) for sample in gallery.samples],
    )


def _bins(lengths: Mapping[int, int]) -> list[Bin]:
    """Return bins of equal width in positions, from the shortest row's to the longest row's."""
    width = _nice_step((max(lengths) - min(lengths) + 1) / _NUM_BINS)
    rows = dict.fromkeys(range(min(lengths) // width, max(lengths) // width + 1), 0)
    for length, count in lengths.items():
        rows[length // width] += count
    return [Bin(place * width, (place + 1) * width - 1, count) for place, count in rows.items()]


def _nice_step(least: float) -> int:
    """Return the smallest of 1, 2, 4, 5, 10, 20, 40, 50, 100 ... that is not below `least`."""
    scale = 1
    while True:
        for factor in (1, 2, 4, 5):
            if factor * scale >= least:
                return factor * scale
        scale *= 10


def _largest(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return the largest counts first, and the sum of those beyond a dozen."""
    rows = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown, rest = rows[:_MOST_BARS], rows[_MOST_BARS:]
    if rest:
        shown.append((f"{len(rest)} others", sum(count for _, count in rest)))
    return shown


def _page_image(sample: Shown) -> PageImage:
    if sample.problem:
        return PageImage(reason=sample.problem, bad=True)
    if sample.pixels is None:
        return PageImage()
    image = Image.fromarray(np.ascontiguousarray(sample.pixels.transpose(1, 2, 0)))
    return embedded(image, small=image.width < _SMALL_PX)
