"""Class accuracy by the judge against recall and against Fréchet distance, of every way to steer.

The figures are those of docs/measured/guidance-curves.json. Above, the denoiser knows the class; below, the classifier
alone decides what is shown. A ring marks the scale that the rule chooses for each way, a cross stands for no guidance.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from snellen.reproduction.shared.documents import Pictures, read_measured
from snellen.reproduction.shared.guided_generation.ways import CONDITIONAL, UNCONDITIONAL, Way

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM, LEGEND = 400, 340, 52, 14, 34, 44, 46

COLOURS = ("#0b5fa5", "#c2571a", "#2a7f3e", "#a3245e", "#6b4fb3", "#8a6d00", "#12858b", "#555555")
WORLDS = {"thumbnails": "Thumbnails", "scenes": "Scenes"}
FIGURES = {"recall": "recall", "frechet": "Frechet distance"}  # the font has no accents

#: (lowest, highest) of an axis.
Range = tuple[float, float]


class Panel:
    """One diagram: accuracy to the right, another figure upwards.

    Args:
        title: above it.
        figure: what is drawn upwards.
        across: range of the accuracy.
        up: range of the figure.
    """

    def __init__(self, title: str, figure: str, across: Range, up: Range) -> None:
        self.figure, self.across, self.up = figure, across, up
        self.sheet = Image.new("RGB", (WIDTH, HEIGHT), "white")
        self.draw, font, small = ImageDraw.Draw(self.sheet), ImageFont.load_default(14), ImageFont.load_default(12)
        self.draw.text((LEFT, 8), title, "black", font)
        for step in range(5):
            value = up[0] + (up[1] - up[0]) * step / 4
            y = self.place(across[0], value)[1]
            self.draw.line([(LEFT, y), (WIDTH - RIGHT, y)], "#e4e4e4")
            self.draw.text((LEFT - 6, y), f"{value:.2g}" if up[1] < 10 else f"{value:.0f}", "black", small, anchor="rm")
            value = across[0] + (across[1] - across[0]) * step / 4
            x = self.place(value, up[0])[0]
            self.draw.text((x, HEIGHT - BOTTOM + 6), f"{value:.2f}", "black", small, anchor="ma")
        self.draw.text(((WIDTH + LEFT) / 2, HEIGHT - 20), "accuracy by the judge", "black", small, anchor="ma")

    def place(self, accuracy: float, value: float) -> tuple[float, float]:
        """Where a point lies."""
        x, y = ((found - low) / (high - low) for found, (low, high) in ((accuracy, self.across), (value, self.up)))
        return LEFT + x * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - y * (HEIGHT - TOP - BOTTOM)

    def curve(self, arm: Mapping[str, Any], colour: str) -> None:
        """The points of one way, by scale; a ring around the chosen one."""
        points = {
            scale: self.place(found["accuracy"], found[self.figure])
            for scale, found in sorted(arm["points"].items(), key=lambda item: float(item[0]))
        }
        self.draw.line([*points.values()], colour, 2)
        for scale, (x, y) in points.items():
            self.draw.ellipse([x - 3, y - 3, x + 3, y + 3], fill=colour)
            if scale == arm.get("chosen"):
                self.draw.ellipse([x - 7, y - 7, x + 7, y + 7], outline=colour, width=2)

    def cross(self, found: Mapping[str, float]) -> None:
        """What no guidance gives."""
        x, y = self.place(found["accuracy"], found[self.figure])
        self.draw.line([(x - 6, y - 6), (x + 6, y + 6)], "black", 2)
        self.draw.line([(x - 6, y + 6), (x + 6, y - 6)], "black", 2)


def row(measured: Mapping[str, Any], base: str, ways: Mapping[str, Way]) -> Image.Image:
    """The diagrams of one base, with the legend of its ways."""
    kinds = [(world, figure) for world in WORLDS if world in measured["worlds"] for figure in FIGURES]
    sheet = Image.new("RGB", (WIDTH * len(kinds), HEIGHT + LEGEND), "white")
    for number, (world, figure) in enumerate(kinds):
        found = measured["worlds"][world]
        arms = {name: found["arms"][name] for name in ways if name in found["arms"]}
        none = found[f"none {base}"]
        every = [none, *(point for arm in arms.values() for point in arm["points"].values())]
        panel = Panel(
            f"{WORLDS[world]}: {FIGURES[figure]}",
            figure,
            span([one["accuracy"] for one in every]),
            span([one[figure] for one in every]),
        )
        for name, colour in zip(ways, COLOURS, strict=False):
            if name in arms:
                panel.curve(arms[name], colour)
        panel.cross(none)
        sheet.paste(panel.sheet, (number * WIDTH, 0))
    draw, font, x, y = ImageDraw.Draw(sheet), ImageFont.load_default(14), float(LEFT), HEIGHT + 2.0
    measured_ways = {name for found in measured["worlds"].values() for name in found["arms"]}
    for (name, way), colour in zip(ways.items(), COLOURS, strict=False):
        if name not in measured_ways:
            continue
        wide = 40 + draw.textlength(way.label, font)
        if x + wide > sheet.width:
            x, y = float(LEFT), y + 21
        draw.ellipse([x, y + 5, x + 9, y + 14], fill=colour)
        draw.text((x + 15, y), way.label, "black", font)
        x += wide
    return sheet


def span(values: list[float]) -> Range:
    """A range around values, never empty; shares end at 1."""
    low, high = min(values), max(values)
    margin = max(0.06 * (high - low), 1e-3)
    return max(0.0, low - margin), min(high + margin, 1.0) if high <= 1 else high + margin


def draw(root: Path, target: Path) -> None:
    """Draw both bases below each other."""
    measured = read_measured(root, "guidance-curves")
    rows = [row(measured, "conditional", CONDITIONAL), row(measured, "unconditional", UNCONDITIONAL)]
    sheet = Image.new("RGB", (rows[0].width, sum(one.height for one in rows)), "white")
    top = 0
    for one in rows:
        sheet.paste(one, (0, top))
        top += one.height
    sheet.save(target, lossless=True, method=6)


PICTURES: Pictures = {"guidance-curves": draw}
