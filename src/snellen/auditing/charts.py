"""Charts as inline SVG: no script, no style attributes, readable in light and dark, printable."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup, escape

from snellen.auditing.panels import Point

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 240, 150, 34, 24, 10, 8


def curve_chart(points: Sequence[Point], title: str, chance: float) -> Markup:
    """Accuracy over severity with its interval, and the level of guessing: one small chart.

    Args:
        points: at least one, ascending in strength.
        title: read out by screen readers.
        chance: accuracy of guessing, in [0, 1].
    """
    last = max(points[-1].x, 1e-9)

    def x(strength: float) -> float:
        return LEFT + strength / last * (WIDTH - LEFT - RIGHT)

    def y(accuracy: float) -> float:
        return TOP + (1 - accuracy) * (HEIGHT - TOP - BOTTOM)

    band = [(x(p.x), y(p.y if p.high is None else p.high)) for p in points] + [
        (x(p.x), y(p.y if p.low is None else p.low)) for p in reversed(points)
    ]
    line = [(x(p.x), y(p.y)) for p in points]
    described = ", ".join(f"{p.y:.0%} at {p.x:g}" for p in points)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" class="chart">',
        f"<title>{escape(title)}: accuracy {described}</title>",
    ]
    for level in (0.0, 0.5, 1.0):
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(level):.1f}" y2="{y(level):.1f}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 5}" y="{y(level) + 3.5:.1f}" text-anchor="end">{level:.0%}</text>')
    chance_y = f"{y(chance):.1f}"
    parts.append(f'<line class="chance" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{chance_y}" y2="{chance_y}"/>')
    for point in points:
        at = f"{x(point.x):.1f}"
        parts.append(f'<text class="tick" x="{at}" y="{HEIGHT - 8}" text-anchor="middle">{point.x:g}</text>')
    parts.append(f'<polygon class="band" points="{_path(band)}"/>')
    parts.append(f'<polyline class="line" points="{_path(line)}"/>')
    parts += [f'<circle class="dot" cx="{px:.1f}" cy="{py:.1f}" r="2.6"/>' for px, py in line]
    parts.append("</svg>")
    return Markup("".join(parts))  # noqa: S704 - every variable part is a number or escaped


def _path(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
