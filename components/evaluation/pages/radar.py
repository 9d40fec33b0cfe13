"""The radar chart of several benchmarks and models, as inline SVG.

In: axes, and per model one value an axis. Out: SVG text without script; colours come from the
page's style (classes `series0`, `series1` ...). Each axis begins at 0 in the middle: a shape twice
as far out is twice the score, unlike charts whose axes begin at the weakest model.
"""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 680, 530
_X, _Y, _RADIUS = 340.0, 268.0, 190.0
_RINGS = 4
_LABEL_CHARACTERS = 11
_LINE_EM = 1.15
LEAST_AXES = 3


@dataclass(frozen=True)
class Axis:
    title: str
    rim: float
    """The value at the end of the axis."""


@dataclass(frozen=True)
class Series:
    name: str
    values: tuple[float | None, ...]
    """One per axis; None where there is no figure."""
    lows: tuple[float, ...] = ()
    """Ends of the intervals, one per axis, for the model whose band is drawn."""
    highs: tuple[float, ...] = ()


def rim_above(values: Sequence[float]) -> float:
    """Return the multiple of 10 that holds all values, 10 to 100."""
    return float(min(100, max(10, 10 * math.ceil(max(values) / 10 - 1e-9))))


def radar(axes: Sequence[Axis], series: Sequence[Series]) -> str:
    """Return the chart; the first series is drawn last, on top."""
    grid = [_ring(axes, (ring + 1) / _RINGS) for ring in range(_RINGS)]
    for place, axis in enumerate(axes):
        x, y = _point(place, len(axes), 1.0)
        grid.append(f'<line class="grid" x1="{_X}" y1="{_Y}" x2="{x:.1f}" y2="{y:.1f}"/>')
        grid.append(_label(axis, place, len(axes), series[0].values[place] if series else None))
    shapes = [_shape(axes, each, number) for number, each in reversed(list(enumerate(series)))]
    names = ", ".join(each.name for each in series)
    return (
        f'<svg class="radar" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="Radar chart of {escape(names, quote=True)}">{"".join(grid + shapes)}</svg>'
    )


def legend(series: Sequence[Series]) -> str:
    """Return the names with their colours."""
    items = "".join(
        f'<li><svg class="key" viewBox="0 0 30 10"><line class="line series{number}" x1="1" x2="29"'
        f' y1="5" y2="5"/></svg>{escape(each.name)}</li>'
        for number, each in enumerate(series)
    )
    return f'<ul class="legend">{items}</ul>'


def _point(place: int, count: int, distance: float) -> tuple[float, float]:
    angle = 2 * math.pi * place / count
    radius = _RADIUS * min(max(distance, 0.0), 1.0)
    return _X + radius * math.sin(angle), _Y - radius * math.cos(angle)


def _ring(axes: Sequence[Axis], distance: float) -> str:
    points = (_point(place, len(axes), distance) for place in range(len(axes)))
    return f'<polygon class="grid" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>'


def _label(axis: Axis, place: int, count: int, value: float | None) -> str:
    angle = 2 * math.pi * place / count
    side, down = math.sin(angle), -math.cos(angle)
    x, y = _X + (_RADIUS + 16) * side, _Y + (_RADIUS + 16) * down
    anchor = "middle" if abs(side) < 0.2 else "start" if side > 0 else "end"
    lines = textwrap.wrap(axis.title, _LABEL_CHARACTERS, max_lines=2, placeholder="...") or [""]
    if value is not None:
        lines.append("")
    # The block of lines grows away from the chart. In em, as the style enlarges text on phones.
    rise = 0.35 - (len(lines) - 1) * _LINE_EM * (1 - down) / 2
    spans = []
    for number, line in enumerate(lines):
        text, kind = escape(line), "axis"
        if value is not None and number == len(lines) - 1:
            text, kind = f'{value:.1f}<tspan class="rim"> of {axis.rim:.0f}</tspan>', "value"
        spans.append(
            f'<tspan class="{kind}" x="{x:.1f}" dy="{_LINE_EM if number else rise:.2f}em">'
            f"{text}</tspan>"
        )
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{"".join(spans)}</text>'


def _shape(axes: Sequence[Axis], series: Series, number: int) -> str:
    count = len(axes)
    points = [
        None if value is None else _point(place, count, value / axis.rim)
        for place, (axis, value) in enumerate(zip(axes, series.values, strict=True))
    ]
    parts = [_band(axes, series, number)] if series.lows else []
    drawn = [
        (points[place], points[(place + 1) % count]) for place in range(count)
    ]  # a model without a figure on an axis has a gap there, not a guess
    path = "".join(
        f"M{first[0]:.1f} {first[1]:.1f}L{second[0]:.1f} {second[1]:.1f}"
        for first, second in drawn
        if first is not None and second is not None
    )
    parts.append(f'<path class="line series{number}" d="{path}"/>')
    for point, axis, value in zip(points, axes, series.values, strict=True):
        if point is not None:
            parts.append(
                f'<circle class="mark series{number}" cx="{point[0]:.1f}" cy="{point[1]:.1f}" '
                f'r="{4.5 if number == 0 else 3.5}"><title>{escape(series.name)}, '
                f"{escape(axis.title)}: {value:.1f}</title></circle>"
            )
    return "".join(parts)


def _band(axes: Sequence[Axis], series: Series, number: int) -> str:
    """Return the ring between the ends of the intervals."""
    rings = []
    for ends in (series.highs, series.lows):
        points = (
            _point(place, len(axes), end / axis.rim)
            for place, (axis, end) in enumerate(zip(axes, ends, strict=True))
        )
        rings.append("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) + "Z")
    return f'<path class="band series{number}" fill-rule="evenodd" d="{"".join(rings)}"/>'
