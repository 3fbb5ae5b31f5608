"""Draw the pictures of docs/statistics.md from the functions of an audit: ``python scripts/draw_statistics.py``.

SVG with a ground of its own, light or dark as the reader's system is, so that it can be read on any page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np

from snellen.auditing.gaps import ErrorGap, error_gap
from snellen.checks.eye_chart import READABLE, Cell, acuity
from snellen.checks.hypothesis import FALSE_DISCOVERY_RATE
from snellen.core.finding import LEVELS, level_of
from snellen.metrics.clustered import clustered_share
from snellen.metrics.multiplicity import benjamini_hochberg, selected_confidence

FOLDER = Path(__file__).parents[1] / "docs" / "pictures"

WIDTH = 480

STYLE = """
    .ground { fill: #ffffff; } .ink { fill: #1c2733; } .soft { fill: #4c5a68; } .pale { fill: #d6e6f5; }
    .line { stroke: #4c5a68; fill: none; } .rule { stroke: #c9d2db; fill: none; } .dash { stroke-dasharray: 5 4; }
    .main { fill: #1f5f99; stroke: #1f5f99; } .warm { fill: #b04a00; stroke: #b04a00; }
    .hollow { fill: #ffffff; stroke: #1f5f99; stroke-width: 2; }
    text { font: 14px system-ui, sans-serif; stroke: none; } .bold { font-weight: 600; }
    @media (prefers-color-scheme: dark) {
      .ground { fill: #16202b; } .ink { fill: #eef4fa; } .soft { fill: #b7c4d1; } .pale { fill: #24405c; }
      .line { stroke: #b7c4d1; } .rule { stroke: #3b4a59; } .main { fill: #7db7ee; stroke: #7db7ee; }
      .warm { fill: #ffab6b; stroke: #ffab6b; } .hollow { fill: #16202b; stroke: #7db7ee; }
    }
"""


def drawing(height: int, title: str, parts: Iterable[str]) -> str:
    """A whole file."""
    body = "\n  ".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" aria-label="{escape(title)}">\n  <style>{STYLE}  </style>\n'
        f'  <rect class="ground" width="{WIDTH}" height="{height}" rx="8"/>\n  {body}\n</svg>\n'
    )


def text(x: float, y: float, words: str, *, look: str = "ink", anchor: str = "start") -> str:
    """Words at a place."""
    return f'<text class="{look}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def box(x: float, y: float, width: float, height: float, look: str) -> str:
    """A filled rectangle."""
    return f'<rect class="{look}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"/>'


def line(x1: float, y1: float, x2: float, y2: float, look: str = "line") -> str:
    """A straight line."""
    return f'<line class="{look}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def dot(x: float, y: float, look: str) -> str:
    """A point."""
    return f'<circle class="{look}" cx="{x:.1f}" cy="{y:.1f}" r="5"/>'


# -- harm --------------------------------------------------------------------------------------------------------------

#: A class of 200 images, of which 80 are wrong, beside 1,800 others with 180 wrong.
CLASS, WRONG, REST, WRONG_ELSEWHERE = 200, 80, 1800, 180


def class_gap() -> ErrorGap:
    """The gap of the example."""
    wrong = np.concatenate([np.arange(CLASS) < WRONG, np.arange(REST) < WRONG_ELSEWHERE])
    gap = error_gap(wrong, np.arange(CLASS + REST) < CLASS)
    assert gap is not None
    return gap


def harm() -> str:
    """From two errors to a level."""
    gap = class_gap()
    share = gap.inside_n / (gap.inside_n + gap.outside_n)
    estimate, bound = (gap.inside - gap.outside) * share, gap.harm(0.95)
    left, wide = 20.0, 440.0
    parts = [text(left, 30, "1. Error of the class, and of the others", look="ink bold")]
    for row, (value, words) in enumerate(((gap.inside, "this class"), (gap.outside, "other classes"))):
        y = 42 + 26 * row
        parts += [
            box(left, y, wide * value, 18, "warm" if not row else "main"),
            text(left + wide * value + 8, y + 14, f"{value:.0%}: {words}"),
        ]
    parts += [
        text(left, 122, "2. Difference × share of the images", look="ink bold"),
        text(left, 144, f"({gap.inside:.0%} − {gap.outside:.0%}) × {share:.0%} = {estimate:.1%} of all images"),
        text(left, 180, "3. Lower bound at 95 %: the harm", look="ink bold"),
    ]
    top, most = 206.0, 0.36

    def place(value: float) -> float:
        return left + wide * value**0.5 / most**0.5

    edges = [*sorted(LEVELS.values()), most]
    for number, (name, low) in enumerate(sorted(LEVELS.items(), key=lambda pair: pair[1])):
        start, end = place(low), place(edges[number + 1])
        parts += [
            box(start, top, end - start, 30, "pale" if number % 2 else "ground"),
            text((start + end) / 2, top + 20, name, anchor="middle"),
            line(start, top, start, top + 36, "rule"),
            text(start, top + 50, f"{100 * low:g} %", look="soft", anchor="middle" if number else "start"),
        ]
    parts += [
        line(left, top, left + wide, top, "rule"),
        line(left, top + 30, left + wide, top + 30, "rule"),
        line(place(bound), top - 8, place(bound), top, "warm"),
        dot(place(bound), top - 8, "warm"),
        dot(place(estimate), top - 8, "hollow"),
        text(left, top + 76, f"Filled: the harm, {bound:.1%}. Its level: {level_of(bound)}."),
        text(left, top + 96, f"Hollow: the estimate, {estimate:.1%}.", look="soft"),
    ]
    title = (
        f"A class is wrong in {gap.inside:.0%} of its images, the others in {gap.outside:.0%}; the difference times "
        f"the share of the class is {estimate:.1%}; the harm is its lower bound, {bound:.1%}: {level_of(bound)}"
    )
    return drawing(320, title, parts)


# -- many tests --------------------------------------------------------------------------------------------------------

#: p values of 20 hypotheses, sorted.
P_VALUES = (
    0.0004, 0.0019, 0.0046, 0.0088, 0.021, 0.034, 0.041, 0.08, 0.12, 0.19,
    0.25, 0.31, 0.38, 0.46, 0.55, 0.62, 0.71, 0.80, 0.88, 0.97,
)  # fmt: skip

#: So many of them are shown.
SHOWN = 8


def chosen_p_values() -> int:
    """How many of the example become findings."""
    return int(benjamini_hochberg(P_VALUES, FALSE_DISCOVERY_RATE).sum())


def many_tests() -> str:
    """Which hypotheses become findings."""
    tested, chosen, usual = len(P_VALUES), chosen_p_values(), sum(one < 0.05 for one in P_VALUES)
    confidence = selected_confidence(chosen, tested)
    left, right, top, bottom, most = 60.0, 460.0, 50.0, 280.0, 0.09

    def across(rank: float) -> float:
        return left + (right - left) * rank / (SHOWN + 0.5)

    def up(value: float) -> float:
        return bottom - (bottom - top) * min(value, most) / most

    parts = [text(20, 28, f"{tested} hypotheses, sorted by p value (the first {SHOWN} are shown)", look="ink bold")]
    for value in (0.0, 0.025, 0.05, 0.075):
        parts += [
            line(left, up(value), right, up(value), "rule"),
            text(left - 8, up(value) + 5, f"{value:g}", look="soft", anchor="end"),
        ]
    parts += [
        line(across(0), up(0), across(SHOWN), up(FALSE_DISCOVERY_RATE * SHOWN / tested), "line dash"),
        text(right, up(FALSE_DISCOVERY_RATE * SHOWN / tested) + 26, "0.05 · rank / 20", look="soft", anchor="end"),
    ]
    for rank, value in enumerate(P_VALUES[:SHOWN], start=1):
        parts.append(dot(across(rank), up(value), "warm" if rank <= chosen else "hollow"))
        parts.append(text(across(rank), bottom + 20, str(rank), look="soft", anchor="middle"))
    parts += [
        text((left + right) / 2, bottom + 42, "rank of the p value", look="soft", anchor="middle"),
        text(20, bottom + 70, f"Filled: the {chosen} findings. {usual} p values lie below 0.05."),
        text(20, bottom + 90, f"Their bounds are taken at 1 − 0.05 · {chosen}/{tested} = {confidence:.0%}."),
    ]
    title = (
        f"Of {tested} p values the smallest {chosen} lie on or below the line 0.05 times rank over {tested} and become "
        f"findings, though {usual} lie below 0.05"
    )
    return drawing(390, title, parts)


# -- intervals ---------------------------------------------------------------------------------------------------------

SIZES = (80, 160, 400, 800, 2000)

#: Wrong images in each of ten units of 8: 10 % in all.
WRONG_IN_UNITS = (4, 2, 1, 1, 0, 0, 0, 0, 0, 0)


def interval_of(images: int, *, units: bool) -> tuple[float, float]:
    """95 % interval of an accuracy of 90 %, of independent images or of units of 8."""
    pattern = np.concatenate([np.arange(8) >= wrong for wrong in WRONG_IN_UNITS])
    right = np.tile(pattern, images // len(pattern))
    found = clustered_share(right, np.arange(images) // 8 if units else None)
    return found.low, found.high


def intervals() -> str:
    """How wide intervals are."""
    left, right, top, bottom, least = 60.0, 460.0, 50.0, 250.0, 0.65

    def up(value: float) -> float:
        return bottom - (bottom - top) * (value - least) / (1 - least)

    parts = [text(20, 28, "95 % interval of an accuracy of 90 %", look="ink bold")]
    for value in (0.7, 0.8, 0.9, 1.0):
        parts += [
            line(left, up(value), right, up(value), "rule"),
            text(left - 8, up(value) + 5, f"{value:.0%}", look="soft", anchor="end"),
        ]
    for number, images in enumerate(SIZES):
        middle = left + (right - left) * (number + 0.5) / len(SIZES)
        for look, units, shift in (("main", False, -9), ("warm", True, 9)):
            low, high = interval_of(images, units=units)
            parts += [
                box(middle + shift - 3, up(high), 6, up(low) - up(high), look),
                dot(middle + shift, up(0.9), look),
            ]
        parts.append(text(middle, bottom + 20, f"{images:,}", look="soft", anchor="middle"))
    parts += [
        text((left + right) / 2, bottom + 42, "images", look="soft", anchor="middle"),
        box(20, bottom + 58, 14, 14, "main"),
        text(42, bottom + 70, "independent images (Wilson)"),
        box(20, bottom + 80, 14, 14, "warm"),
        text(42, bottom + 92, "units of 8 images that err alike"),
    ]
    title = (
        f"The interval of an accuracy of 90 % is {_words(80, False)} of 80 independent images and "
        f"{_words(2000, False)} of 2,000; of units of 8 it is {_words(80, True)} and {_words(2000, True)}"
    )
    return drawing(360, title, parts)


def _words(images: int, units: bool) -> str:
    low, high = interval_of(images, units=units)
    return f"{low:.0%} to {high:.0%}"


# -- the eye chart -----------------------------------------------------------------------------------------------------

#: Retained accuracy at each severity, with half the width of its interval.
RETAINED = ((1, 0.97, 0.04), (2, 0.91, 0.05), (3, 0.76, 0.06), (4, 0.55, 0.07), (5, 0.38, 0.07))


def cells() -> list[Cell]:
    """The cells of the example."""
    return [Cell(severity=at, retained=r, low=r - half, high=r + half, n=1000) for at, r, half in RETAINED]


def sight() -> str:
    """Where a line can no longer be read."""
    found = acuity(cells())
    assert found is not None
    left, right, top, bottom = 60.0, 460.0, 50.0, 250.0

    def across(value: float) -> float:
        return left + (right - left) * value / 5.2

    def up(value: float) -> float:
        return bottom - (bottom - top) * value / 1.05

    rows = [(0.0, 1.0, 1.0, 1.0), *((one.severity, one.retained, one.low, one.high) for one in cells())]
    band = [(at, high) for at, _, _, high in rows] + [(at, low) for at, _, low, _ in reversed(rows)]
    parts = [text(20, 28, "Accuracy above chance that is retained under a damage", look="ink bold")]
    for value in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        parts += [
            line(left, up(value), right, up(value), "rule"),
            text(left - 8, up(value) + 5, f"{value:g}", look="soft", anchor="end"),
        ]
    parts += [
        f'<polygon class="pale" points="{" ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in band)}"/>',
        *(line(across(a[0]), up(a[1]), across(b[0]), up(b[1]), "main") for a, b in pairwise(rows)),
        *(dot(across(at), up(value), "main") for at, value, _, _ in rows),
        line(left, up(READABLE), right, up(READABLE), "line dash"),
        line(across(found.value), up(READABLE), across(found.value), bottom, "warm"),
        dot(across(found.value), up(READABLE), "warm"),
        *(text(across(at), bottom + 20, f"{at:g}", look="soft", anchor="middle") for at, _, _, _ in rows),
        text((left + right) / 2, bottom + 42, "severity", look="soft", anchor="middle"),
        text(20, bottom + 70, f"The acuity is {found.value:.2f}: there the line falls below {READABLE:g}."),
        text(
            20, bottom + 90, f"Its interval, {found.low:.2f} to {found.high:.2f}, is where the band does.", look="soft"
        ),
    ]
    title = (
        f"Retained accuracy falls below {READABLE:g} at severity {found.value:.2f}, with the interval {found.low:.2f} "
        f"to {found.high:.2f}"
    )
    return drawing(360, title, parts)


#: Name of the file → what draws it.
PICTURES: Mapping[str, Callable[[], str]] = {
    "statistics-harm": harm,
    "statistics-tests": many_tests,
    "statistics-intervals": intervals,
    "statistics-acuity": sight,
}


def main() -> None:
    """Draw all."""
    for name, draw in PICTURES.items():
        (FOLDER / f"{name}.svg").write_text(draw(), encoding="utf-8")


if __name__ == "__main__":
    main()
