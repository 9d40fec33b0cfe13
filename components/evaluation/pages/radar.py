"""The radar chart of several benchmarks and models: where its lines, marks and labels lie.

In: axes, and per model one value an axis. Out: the facts of `radar.html`, inline SVG whose colours
come from the page's style. Each axis begins at 0 in the middle: a shape twice as far out is twice
the score, unlike charts whose axes begin at the weakest model.
"""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

_X, _Y, _RADIUS = 340.0, 268.0, 190.0
_RINGS = 4
_LABEL_CHARACTERS = 11
LEAST_AXES = 3

Point = tuple[float, float]


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


@dataclass(frozen=True)
class Label:
    """An axis's title in lines, and the first model's value below it."""

    x: float
    y: float
    anchor: str
    rise: float
    """From the place to the first line, in em, as the style enlarges text on phones."""
    lines: list[str]
    value: float | None
    rim: float


@dataclass(frozen=True)
class Shape:
    """One model; `line` and `band` are paths of SVG."""

    name: str
    line: str
    band: str
    marks: list[tuple[str, float, float, float]]
    """Title of the axis, value and place."""


@dataclass(frozen=True)
class Chart:
    rings: list[str]
    labels: list[Label]
    shapes: list[Shape]
    """The first is drawn last, on top."""
    width: int = 680
    height: int = 530
    line_em: float = 1.15


def rim_above(values: Sequence[float]) -> float:
    """Return the multiple of 10 that holds all values, 10 to 100."""
    return float(min(100, max(10, 10 * math.ceil(max(values) / 10 - 1e-9))))


def radar(axes: Sequence[Axis], series: Sequence[Series]) -> Chart:
    """Return the chart of one or more models."""
    count = len(axes)
    rings = [
        _path([_point(place, count, (ring + 1) / _RINGS) for place in range(count)]) + "Z"
        for ring in range(_RINGS)
    ]
    spokes = [_path([(_X, _Y), _point(place, count, 1.0)]) for place in range(count)]
    labels = [_label(axes, place, series[0].values[place]) for place in range(count)]
    return Chart(rings + spokes, labels, [_shape(axes, each) for each in series])


def _point(place: int, count: int, distance: float) -> Point:
    angle = 2 * math.pi * place / count
    radius = _RADIUS * min(max(distance, 0.0), 1.0)
    return _X + radius * math.sin(angle), _Y - radius * math.cos(angle)


def _path(points: Sequence[Point]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def _label(axes: Sequence[Axis], place: int, value: float | None) -> Label:
    axis, angle = axes[place], 2 * math.pi * place / len(axes)
    side, down = math.sin(angle), -math.cos(angle)
    lines = textwrap.wrap(axis.title, _LABEL_CHARACTERS, max_lines=2, placeholder="...") or [""]
    num_below = len(lines) - (value is None)
    return Label(
        _X + (_RADIUS + 16) * side,
        _Y + (_RADIUS + 16) * down,
        "middle" if abs(side) < 0.2 else "start" if side > 0 else "end",
        0.35 - num_below * Chart.line_em * (1 - down) / 2,  # the lines grow away from the chart
        lines,
        value,
        axis.rim,
    )


def _shape(axes: Sequence[Axis], series: Series) -> Shape:
    points = [
        None if value is None else _point(place, len(axes), value / axis.rim)
        for place, (axis, value) in enumerate(zip(axes, series.values, strict=True))
    ]
    pairs = zip(points, [*points[1:], points[0]], strict=True)
    # A model without a figure on an axis has a gap there, not a guess.
    line = "".join(_path([one, two]) for one, two in pairs if one is not None and two is not None)
    band = "".join(
        _path([_point(place, len(axes), end / axes[place].rim) for place, end in enumerate(ends)])
        + "Z"
        for ends in (series.highs, series.lows)
        if ends
    )
    marks = [
        (axis.title, value, *point)
        for axis, value, point in zip(axes, series.values, points, strict=True)
        if value is not None and point is not None
    ]
    return Shape(series.name, line, band, marks)
