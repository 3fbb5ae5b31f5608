"""Line charts as inline SVG: no script, no style attributes, readable in light and dark, printable."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from snellen.checks.panels import Line, Panel, Point

LEFT, BOTTOM, TOP, RIGHT = 44, 40, 10, 12

#: Most points of a line that are drawn: more cannot be distinguished, and cost bytes.
DRAWN = 200

#: Lines with more points than this have no marks.
MARKED = 24

#: Lines look different in four ways besides their colour: mark and dashes.
LOOKS = 4

#: About so many ticks on an axis.
TICKS = 5


@dataclass(frozen=True)
class _Scale:
    """Maps data to pixels along one axis."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> str:
        inside = min(max(value, self.low), self.high)
        return f"{self.start + (inside - self.low) / (self.high - self.low) * (self.end - self.start):.1f}"


def line_chart(panel: Panel, *, width: int = 460, height: int = 280) -> Markup:
    """The lines of a panel with their intervals, axes, ticks, and a legend where there is more than one line.

    References are dashed. Points that are not finite are left out, values between 0 and 1 share the scale 0 to 1.

    Args:
        panel: with lines; its title and axis labels are data, and escaped.
        width, height: of the drawing, in its own units.
    """
    lines = [line.model_copy(update={"points": _drawable(line.points)}) for line in panel.lines]
    lines = [line for line in lines if line.points]
    if not lines:
        return Markup('<p class="soft">Nothing to draw: no value is finite.</p>')
    every = [point for line in lines for point in line.points]
    x_low, x_high = value_range([point.x for point in every])
    y_low, y_high = value_range([value for point in every for value in _extent(point)], from_zero=True)
    x, y = _Scale(x_low, x_high, LEFT, width - RIGHT), _Scale(y_low, y_high, height - BOTTOM, TOP)
    parts = [
        f'<svg viewBox="0 0 {width} {height}" role="img" class="chart">',
        f"<title>{escape(panel.title)}</title><desc>{escape(_described(panel, lines))}</desc>",
    ]
    for tick in ticks(y_low, y_high):
        at = y(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{width - RIGHT}" y1="{at}" y2="{at}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 6}" y="{at}" dy="4" text-anchor="end">{_number(tick)}</text>')
    for tick in ticks(x_low, x_high):
        parts.append(
            f'<line class="grid" x1="{x(tick)}" x2="{x(tick)}" y1="{y(y_low)}" y2="{float(y(y_low)) + 4:.1f}"/>'
        )
        parts.append(
            f'<text class="tick" x="{x(tick)}" y="{height - BOTTOM + 17}" text-anchor="middle">{_number(tick)}</text>'
        )
    middle_x, middle_y = (LEFT + width - RIGHT) / 2, (TOP + height - BOTTOM) / 2
    if panel.x_label:
        parts.append(
            f'<text class="axis" x="{middle_x:g}" y="{height - 6}" text-anchor="middle">{escape(panel.x_label)}</text>'
        )
    if panel.y_label:
        parts.append(
            f'<text class="axis" x="11" y="{middle_y:g}" text-anchor="middle" '
            f'transform="rotate(-90 11 {middle_y:g})">{escape(panel.y_label)}</text>'
        )
    looks = _looks(lines)
    for line, look in zip(lines, looks, strict=True):
        parts += _drawn(line, look, x, y)
    parts.append("</svg>")
    if len(lines) > 1:
        parts.append(_legend(lines, looks))
    return Markup("".join(parts))  # noqa: S704 - every variable part is a number or escaped


def value_range(values: Sequence[float], *, from_zero: bool = False) -> tuple[float, float]:
    """Ends of an axis that hold all values; never of no length.

    >>> value_range([0.2, 0.9]), value_range([3.0]), value_range([40, 90], from_zero=True)
    ((0.0, 1.0), (2.5, 3.5), (0.0, 90.0))
    """
    low, high = min(values), max(values)
    if low >= 0 and 0.5 < high <= 1:
        return 0.0, 1.0
    if from_zero and low > 0:
        low = 0.0
    # Floats that hardly differ leave no room for ticks between them.
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        half = max(0.5, abs(low) / 100)
        low, high = low - half, high + half
    return float(low), float(high)


def ticks(low: float, high: float) -> list[float]:
    """Round numbers from low to high.

    >>> ticks(0, 1), ticks(1, 5)
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], [1.0, 2.0, 3.0, 4.0, 5.0])
    """
    rough = (high - low) / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(place * step, 12) for place in range(first, last + 1)]


def _drawable(points: Sequence[Point]) -> tuple[Point, ...]:
    """Finite points, evenly thinned to :data:`DRAWN` of them, the first and the last among them."""
    finite = [point for point in points if math.isfinite(point.x) and math.isfinite(point.y)]
    if len(finite) > DRAWN:
        finite = [finite[round(place * (len(finite) - 1) / (DRAWN - 1))] for place in range(DRAWN)]
    return tuple(finite)


def _extent(point: Point) -> list[float]:
    return [point.y, *(end for end in (point.low, point.high) if end is not None and math.isfinite(end))]


def _interval(point: Point) -> tuple[float, float] | None:
    if point.low is None or point.high is None or not (math.isfinite(point.low) and math.isfinite(point.high)):
        return None
    return point.low, point.high


def _looks(lines: Sequence[Line]) -> list[str]:
    """Class of each line: references look alike, others take turns, and parts of one name are one line with gaps."""
    turns: dict[str, int] = {}
    for line in lines:
        if not line.reference:
            turns.setdefault(line.name, len(turns))
    return ["reference" if line.reference else f"look-{turns[line.name] % LOOKS}" for line in lines]


def _drawn(line: Line, look: str, x: _Scale, y: _Scale) -> list[str]:
    known = [(point, interval) for point in line.points if (interval := _interval(point)) is not None]
    parts = []
    if len(known) > 1:
        upper = [f"{x(point.x)},{y(high)}" for point, (_, high) in known]
        lower = [f"{x(point.x)},{y(low)}" for point, (low, _) in reversed(known)]
        parts.append(f'<polygon class="band {look}" points="{" ".join([*upper, *lower])}"/>')
    for point, (low, high) in known[:1] if len(known) == 1 else ():
        parts.append(f'<path class="line {look}" d="M{x(point.x)} {y(low)}V{y(high)}"/>')
    path = " ".join(f"{x(point.x)},{y(point.y)}" for point in line.points)
    parts.append(f'<polyline class="line {look}" points="{path}"/>')
    if not line.reference and len(line.points) <= MARKED:
        parts += [_mark(look, x(point.x), y(point.y)) for point in line.points]
    return parts


def _mark(look: str, at_x: str, at_y: str) -> str:
    shape = {
        "look-0": "M-3 0A3 3 0 1 0 3 0A3 3 0 1 0 -3 0Z",
        "look-1": "M-3 -3H3V3H-3Z",
        "look-2": "M0 -4L4 3H-4Z",
        "look-3": "M0 -4L4 0L0 4L-4 0Z",
    }[look]
    return f'<path class="mark {look}" transform="translate({at_x} {at_y})" d="{shape}"/>'


def _legend(lines: Sequence[Line], looks: Sequence[str]) -> str:
    entries = ""
    for line, look in {(one.name, look): (one, look) for one, look in zip(lines, looks, strict=True)}.values():
        mark = "" if line.reference else _mark(look, "14", "6")
        entries += (
            f'<li><svg width="28" height="12" aria-hidden="true"><path class="line {look}" d="M0 6H28"/>{mark}</svg>'
            f"{escape(line.name)}</li>"
        )
    return f'<ul class="legend">{entries}</ul>'


def _described(panel: Panel, lines: Sequence[Line]) -> str:
    """What a screen reader says: each line at a few of its points."""
    series = []
    for line in lines:
        count = min(len(line.points), TICKS)
        places = sorted({round(place * (len(line.points) - 1) / max(count - 1, 1)) for place in range(count)})
        values = ", ".join(f"{_number(line.points[p].y)} at {_number(line.points[p].x)}" for p in places)
        series.append(f"{line.name}: {values}")
    axes = f"{panel.y_label or 'value'} over {panel.x_label or 'position'}. "
    return axes + ". ".join(series)


def _number(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:g}"
