"""A picture of curves on two logarithmic axes: measured dots, lines through them, and bands of their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from snellen.core.errors import InputError
from snellen.runs.thumbnails import BACKGROUND, INK

#: Distinguishable with most kinds of colour blindness (Okabe and Ito 2008).
COLOURS = ("#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")

#: Pixels of the picture: width, height of the plot, room for the scale on the left, elsewhere, and a row of the legend.
_WIDTH, _PLOT, _LEFT, _EDGE, _ROW = 760, 380, 64, 24, 20

#: Of the lines behind the curves.
_GRID = "#dddddd"

#: Drawn so many times as large, and reduced: smooth lines.
_FINER = 2

#: Least pixels between two labels of a scale.
_GAP = 10

#: Digits that a scale may show, the roundest first.
_DIGITS = ((1.0,), (1.0, 2.0, 5.0), (1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0))


@dataclass(frozen=True)
class Curve:
    """One curve; all values are positive.

    Attributes:
        name: in the legend.
        points: (x, y) of each dot.
        line: (x, y) of its corners.
        band: (x, low, high) of its corners.
    """

    name: str
    points: Sequence[tuple[float, float]] = ()
    line: Sequence[tuple[float, float]] = ()
    band: Sequence[tuple[float, float, float]] = ()

    @property
    def every(self) -> list[tuple[float, float]]:
        """All places that the picture must show."""
        ends = [(x, y) for x, low, high in self.band for y in (low, high)]
        return [*self.points, *self.line, *ends]


def curve_picture(curves: Sequence[Curve], across: str, up: str) -> Image.Image:
    """Draw curves, with a legend below that no name can leave.

    Args:
        curves: in the order of the legend; more than seven share colours.
        across: what the horizontal axis shows.
        up: what the vertical one shows.

    Raises:
        InputError: nothing to draw, or a value that is not positive.
    """
    every = [place for curve in curves for place in curve.every]
    if not every or min(min(place) for place in every) <= 0:
        raise InputError(f"curves on logarithmic axes need positive values; got {min(every, default='no values')}")
    size = (_WIDTH * _FINER, (_EDGE + _PLOT + 3 * _EDGE + _ROW * len(curves)) * _FINER)
    picture = Image.new("RGB", size, BACKGROUND)
    draw, font = ImageDraw.Draw(picture, "RGBA"), ImageFont.load_default(13 * _FINER)
    xs, ys = ([math.log(place[axis]) for place in every] for axis in (0, 1))
    left, right, top, bottom = _LEFT, _WIDTH - _EDGE, 2 * _EDGE, _EDGE + _PLOT

    def at(place: tuple[float, float]) -> tuple[float, float]:
        x = _share(math.log(place[0]), xs) * (right - left - 2 * _GAP) + left + _GAP
        y = bottom - _GAP - _share(math.log(place[1]), ys) * (bottom - top - 2 * _GAP)
        return x * _FINER, y * _FINER

    def write(x: float, y: float, text: str, anchor: str) -> None:
        draw.text((x, y), text, INK, font, anchor=anchor)

    for value in _ticks(min(ys), max(ys)):
        y = at((every[0][0], value))[1]
        draw.line([(left * _FINER, y), (right * _FINER, y)], _GRID, _FINER)
        write((left - 8) * _FINER, y, f"{value:g}", "rm")
    free = 0.0
    for value in sorted({x for curve in curves for x, _ in (curve.points or curve.line)}):
        x, half = at((value, every[0][1]))[0], font.getlength(f"{value:g}") / 2
        if x - half >= free:
            draw.line([(x, bottom * _FINER), (x, (bottom + 5) * _FINER)], INK, _FINER)
            write(x, (bottom + 8) * _FINER, f"{value:g}", "ma")
            free = x + half + _GAP * _FINER
    draw.rectangle((left * _FINER, top * _FINER, right * _FINER, bottom * _FINER), outline=INK, width=_FINER)
    write(_EDGE // 2 * _FINER, _EDGE // 2 * _FINER, up, "la")
    write((left + right) / 2 * _FINER, (bottom + _EDGE) * _FINER + 4, across, "ma")
    for number, curve in enumerate(curves):
        colour = COLOURS[number % len(COLOURS)]
        if curve.band:
            outline = [(x, low) for x, low, _ in curve.band] + [(x, high) for x, _, high in reversed(curve.band)]
            draw.polygon([at(place) for place in outline], f"{colour}30")
        if curve.line:
            draw.line([at(place) for place in curve.line], colour, 2 * _FINER, joint="curve")
        for x, y in map(at, curve.points):
            draw.ellipse((x - 3 * _FINER, y - 3 * _FINER, x + 3 * _FINER, y + 3 * _FINER), f"{colour}90")
        row = (bottom + 2.8 * _EDGE + _ROW * number) * _FINER
        draw.rectangle((left * _FINER, row - 5 * _FINER, (left + 14) * _FINER, row + 5 * _FINER), colour)
        write((left + 22) * _FINER, row, _shortened(curve.name, (right - left - 22) * _FINER, font), "lm")
    return picture.resize((size[0] // _FINER, size[1] // _FINER), Image.Resampling.LANCZOS)


def _share(value: float, values: Sequence[float]) -> float:
    """Where a value lies between the smallest and the largest; 0.5 where these are equal."""
    low, high = min(values), max(values)
    return (value - low) / (high - low) if high > low else 0.5


def _ticks(low: float, high: float) -> list[float]:
    """Round values between two logarithms: three or more where there are, else both ends.

    >>> _ticks(math.log(0.9), math.log(120)), _ticks(math.log(0.4), math.log(1.1))
    ([1.0, 10.0, 100.0], [0.4, 0.5, 0.6, 0.8, 1.0])
    """
    inside: list[float] = []
    for digits in _DIGITS:
        powers = range(math.floor(low / math.log(10)) - 1, math.ceil(high / math.log(10)) + 1)
        found = [float(f"{digit * 10.0**power:.3g}") for power in powers for digit in digits]
        inside = [value for value in found if low - 1e-9 <= math.log(value) <= high + 1e-9]
        if len(inside) >= 3:
            return inside
    return sorted({*inside, *(float(f"{math.exp(end):.3g}") for end in (low, high))})


def _shortened(text: str, room: float, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """A text that fits, with … in its middle where it must be cut: names of settings differ at both ends."""
    kept = text
    cut = 0
    while font.getlength(kept) > room and cut < len(text):
        cut += 1
        half = (len(text) - cut) // 2
        kept = f"{text[:half]}…{text[half + cut :]}"
    return kept
