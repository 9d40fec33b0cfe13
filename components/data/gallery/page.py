"""A `Gallery` as one HTML page: no script, no other file, nothing fetched.

In: the gallery. Out: the page's text. Everything that comes from data is escaped, and a content
security policy forbids scripts besides. Pictures are PNG, so that each pixel is the model's. The
charts are inline SVG and bars of CSS.
"""

import base64
from collections.abc import Mapping
from html import escape
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from components.data.gallery.samples import Gallery, Piece, Shown

_NUM_BINS = 32
_CHART_WIDTH, _CHART_HEIGHT, _CHART_FOOT = 420, 170, 20
_WIDEST_BAR = 40
_MOST_BARS = 12

_STYLE = """
:root { color-scheme: light dark; --page: #f6f6f4; --card: #fff; --line: #dcdcd6; --ink: #1d1f21;
  --soft: #6b6f73; --bar: #4a7fb5; --answer: #cdeccf; --answer-edge: #2f7d3b; --bad: #a3261b; }
@media (prefers-color-scheme: dark) { :root { --page: #17181a; --card: #212326; --line: #393c40;
  --ink: #e6e6e3; --soft: #a0a4a8; --bar: #6f9fd0; --answer: #1f4a29; --answer-edge: #79c286;
  --bad: #ff8d80; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 28px; max-width: 1480px; background: var(--page); color: var(--ink);
  font: 15px/1.45 system-ui, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
h1 { font-size: 24px; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 15px; margin: 0 0 12px; }
.facts { color: var(--soft); margin: 0 0 22px; }
.facts b { color: var(--ink); font-weight: 600; }
.panels { display: grid; grid-template-columns: repeat(auto-fit, minmax(340px, 1fr)); gap: 18px; }
.panel, .card { background: var(--card); border: 1px solid var(--line); border-radius: 8px; }
.panel { padding: 16px 18px; min-width: 0; }
.panel p { margin: 8px 0 0; color: var(--soft); font-size: 13px; }
.panel.bad h2 { color: var(--bad); }
.panel.bad .bars { grid-template-columns: 1fr max-content; }
.panel.bad .bar { display: none; }
.panel.bad .name { max-width: none; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--soft); font: 11px system-ui, sans-serif; }
svg rect { fill: var(--bar); }
svg line { stroke: var(--line); }
.bars { display: grid; grid-template-columns: minmax(80px, max-content) 1fr max-content;
  gap: 6px 10px; align-items: center; font-size: 14px; }
.bars .name { overflow-wrap: anywhere; max-width: 300px; }
.bars .bar { height: 12px; min-width: 2px; border-radius: 2px; background: var(--bar); }
.bars .count { text-align: right; font-variant-numeric: tabular-nums; color: var(--soft); }
.legend { margin: 24px 0 12px; color: var(--soft); }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(338px, 1fr)); gap: 18px; }
.card { display: flex; flex-direction: column; overflow: hidden; min-width: 0; }
.picture { display: flex; justify-content: center; padding: 10px 10px 0; }
.picture img { display: block; width: 336px; max-width: 100%; aspect-ratio: 1; }
.picture img.small { image-rendering: pixelated; }
.none { padding: 18px; text-align: center; color: var(--soft); border-bottom: 1px solid var(--line);
  overflow-wrap: anywhere; }
.none.bad { color: var(--bad); }
.about { padding: 10px 14px 0; font-size: 13px; color: var(--soft); overflow-wrap: anywhere; }
.about b { color: var(--ink); }
.text { margin: 8px 14px 14px; max-height: 300px; overflow: auto; white-space: pre-wrap;
  overflow-wrap: anywhere; font: 13px/1.5 ui-monospace, "DejaVu Sans Mono", Menlo, monospace; }
.none ~ .text { max-height: 620px; }
.text, .about span, .about b { unicode-bidi: isolate; }
mark { background: var(--answer); color: inherit; border-bottom: 1px solid var(--answer-edge); }
.image { border: 1px solid var(--line); border-radius: 4px; padding: 0 4px; color: var(--soft); }
"""


def gallery_page(gallery: Gallery) -> str:
    """Return the page as HTML text."""
    cards = "\n".join(_card(sample, gallery) for sample in gallery.samples)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(gallery.title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{escape(gallery.title)}</h1>
{_facts(gallery)}
<div class="panels">
<section class="panel"><h2>Length in positions</h2>
{_histogram(gallery.lengths, gallery.view.max_tokens)}</section>
<section class="panel"><h2>Rows by source</h2>
{_bars(gallery.composition)}</section>
{_rejects(gallery.reasons)}</div>
<p class="legend">{len(gallery.samples)} samples as the model sees them.
<mark>Marked text</mark> is what training learns; all else is only read.</p>
<main class="gallery">
{cards}
</main>
</body>
</html>
"""


def _facts(gallery: Gallery) -> str:
    view, rejected = gallery.view, sum(gallery.reasons.values())
    size = view.image.size_px
    fitted = "padded to a square" if view.image.aspect == "pad" else "cut to the central square"
    parts = [
        f"<b>{gallery.num_rows:,}</b> rows",
        *([f"<b>{rejected:,}</b> rejected"] if rejected else []),
        f"template <b>{escape(view.template)}</b>",
        f"vocabulary <b>{len(view.tokenizer):,}</b>",
        f"pictures {fitted}, <b>{size} x {size}</b> px, <b>{view.patches_per_image}</b> positions",
        f"at most <b>{view.max_tokens:,}</b> positions",
    ]
    return f'<p class="facts">{" &middot; ".join(parts)}</p>'


def _histogram(lengths: Mapping[int, int], max_tokens: int) -> str:
    """Return bars of equal width in positions, from the shortest row's to the longest row's."""
    width = _nice_step((max(lengths) - min(lengths) + 1) / _NUM_BINS)
    first = min(lengths) // width
    bins = [0] * (max(lengths) // width - first + 1)
    for length, rows in lengths.items():
        bins[length // width - first] += rows
    tallest, across = max(bins), min(_CHART_WIDTH / len(bins), _WIDEST_BAR)
    floor = _CHART_HEIGHT - _CHART_FOOT
    parts = [f'<line x1="0" x2="{_CHART_WIDTH}" y1="{floor}" y2="{floor}"/>']
    every = -(-len(bins) // 7)
    for place, rows in enumerate(bins):
        low = (first + place) * width
        if rows:
            height = max(1.5, rows / tallest * (floor - 16))
            parts.append(
                f'<rect x="{place * across + 0.5:.1f}" y="{floor - height:.1f}" rx="1" '
                f'width="{max(across - 1, 1):.1f}" height="{height:.1f}">'
                f"<title>{low:,} to {low + width - 1:,} positions: {rows:,} rows</title></rect>"
            )
        if place % every == 0:
            parts.append(f'<text x="{place * across:.1f}" y="{floor + 16}">{low:,}</text>')
    parts.append(f'<text x="{_CHART_WIDTH}" y="12" text-anchor="end">most: {tallest:,} rows</text>')
    total = sum(lengths.values())
    mean = sum(length * rows for length, rows in lengths.items()) / total
    cut = lengths.get(max_tokens, 0)
    label = f"mean {mean:,.0f}, longest {max(lengths):,}" + (
        f", {cut:,} at the limit" if cut else ""
    )
    return (
        f'<svg viewBox="0 0 {_CHART_WIDTH} {_CHART_HEIGHT}" role="img" '
        f'aria-label="Histogram of lengths: {label}">{"".join(parts)}</svg>'
        f"<p>{label}</p>"
    )


def _nice_step(least: float) -> int:
    """Return the smallest of 1, 2, 4, 5, 10, 20, 40, 50, 100 ... that is not below `least`."""
    scale = 1
    while True:
        for factor in (1, 2, 4, 5):
            if factor * scale >= least:
                return factor * scale
        scale *= 10


def _bars(counts: Mapping[str, int]) -> str:
    rows = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    shown, rest = rows[:_MOST_BARS], rows[_MOST_BARS:]
    if rest:
        shown.append((f"{len(rest)} others", sum(count for _, count in rest)))
    most, total = max(count for _, count in shown), sum(counts.values())
    lines = [
        f'<span class="name">{escape(name)}</span>'
        f'<span class="bar" style="width: {100 * count / most:.1f}%"></span>'
        f'<span class="count">{count:,} &middot; {100 * count / total:.1f}%</span>'
        for name, count in shown
    ]
    return f'<div class="bars">{"".join(lines)}</div>'


def _rejects(reasons: Mapping[str, int]) -> str:
    if not reasons:
        return ""
    return f'<section class="panel bad"><h2>Rejected rows</h2>\n{_bars(reasons)}</section>\n'


def _card(sample: Shown, gallery: Gallery) -> str:
    patches = gallery.view.patches_per_image
    text = "".join(_piece(piece, patches) for piece in sample.pieces)
    origin = f"<span>{escape(sample.source)}</span> &middot; <span>{escape(sample.where)}</span>"
    return (
        f'<article class="card">{_picture(sample)}'
        f'<div class="about"><b>{escape(sample.id)}</b> &middot; {origin}<br>'
        f"{sample.num_tokens:,} positions, {sample.num_supervised:,} of them learnt</div>"
        f'<div class="text">{text}</div></article>'
    )


def _piece(piece: Piece, patches: int) -> str:
    if piece.kind == "image":
        return f'<span class="image">picture, {patches} positions</span>'
    text = escape(piece.text)
    return f"<mark>{text}</mark>" if piece.kind == "answer" else text


def _picture(sample: Shown) -> str:
    if sample.problem:
        return f'<div class="none bad">{escape(sample.problem)}</div>'
    if sample.pixels is None:
        return '<div class="none">text only</div>'
    small = ' class="small"' if sample.pixels.shape[-1] < 224 else ""
    name = escape(sample.id, quote=True)
    return (
        f'<div class="picture"><img{small} alt="picture of {name}" '
        f'src="data:image/png;base64,{_png(sample.pixels)}"></div>'
    )


def _png(pixels: NDArray[np.uint8]) -> str:
    file = BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0))).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode("ascii")
