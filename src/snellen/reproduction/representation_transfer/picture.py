"""How much of an attack carries over, by the depth at which it is made.

The figures come from results/representation_transfer.json. Bars are the bootstrap intervals of a run over images and
pairs of models, their ends averaged over the runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from snellen.models.layers.split_classifier import PIXELS
from snellen.reproduction.representation_transfer.networks import STAGES
from snellen.reproduction.result import Result
from snellen.reproduction.shared.documents import Pictures

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 560, 460, 60, 20, 40, 76
STUDIES = {"scenes": "Scenes, five networks", "fashion": "Fashion-MNIST, three networks"}
#: What is drawn: map, depths, colour, and the shift of its marks so that bars do not lie on one another.
DATA, HIDDEN = (
    "#222222",
    {"none": ("as they are", "#c2571a", -5), "orthogonal": ("rotated by a Procrustes map", "#0b5fa5", 5)},
)
LOWEST, HIGHEST = -0.2, 1.0


def place(depth: int, value: float) -> tuple[float, float]:
    """Where a value at a depth (0: pixels) lies in a panel."""
    across = LEFT + 30 + depth * (WIDTH - LEFT - RIGHT - 60) / len(STAGES)
    return across, TOP + (HIGHEST - value) / (HIGHEST - LOWEST) * (HEIGHT - TOP - BOTTOM)


def panel(figures: Mapping[str, float], study: str) -> Image.Image:
    """One study: transfer τ upwards, depth to the right."""
    sheet = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    draw.text((LEFT, 8), STUDIES[study], "black", font)
    for tenth in range(-2, 11, 2):
        y = place(0, tenth / 10)[1]
        draw.line([(LEFT, y), (WIDTH - RIGHT, y)], "#888888" if tenth == 0 else "#e4e4e4")
        draw.text((LEFT - 36, y - 9), f"{tenth / 10:.1f}", "black", font)
    draw.text((20, 8), "tau", "black", font)
    for depth, name in enumerate((PIXELS, *STAGES)):
        draw.text((place(depth, 0)[0], HEIGHT - BOTTOM + 10), name, "black", font, anchor="ma")
    draw.text(((WIDTH + LEFT) / 2, HEIGHT - 34), "layer at which the tensor is added", "black", font, anchor="ma")
    mark(draw, figures, f"{study}.{PIXELS}.none", 0, DATA, 0)
    # The data-space attack has one depth; its line across is for comparing by eye.
    y = place(0, figures[f"{study}.{PIXELS}.none.tau"])[1]
    for x in range(LEFT, WIDTH - RIGHT, 12):
        draw.line([(x, y), (x + 6, y)], DATA)
    for kind, (_, colour, shift) in HIDDEN.items():
        places = [
            mark(draw, figures, f"{study}.{stage}.{kind}", depth, colour, shift)
            for depth, stage in enumerate(STAGES, start=1)
        ]
        # Depth 0 is the data-space attack itself; no map is needed there, and both lines begin at it.
        draw.line([place(0, figures[f"{study}.{PIXELS}.none.tau"]), *places], colour, 2)
    return sheet


def mark(
    draw: ImageDraw.ImageDraw, figures: Mapping[str, float], name: str, depth: int, colour: str, shift: int
) -> tuple[float, float]:
    """A dot with its interval; where the dot is."""
    (x, y), *ends = (place(depth, figures[f"{name}.{key}"]) for key in ("tau", "low", "high"))
    x += shift
    draw.line([(x, ends[0][1]), (x, ends[1][1])], colour, 2)
    for _, end in ends:
        draw.line([(x - 4, end), (x + 4, end)], colour, 2)
    draw.ellipse([x - 5, y - 5, x + 5, y + 5], fill=colour)
    return x, y


def legend() -> Image.Image:
    """What the colours are."""
    sheet = Image.new("RGB", (WIDTH * len(STUDIES), 34), "white")
    draw, font, x = ImageDraw.Draw(sheet), ImageFont.load_default(15), float(LEFT)
    for label, colour in (
        ("data space (pixels, layer 0)", DATA),
        *((f"representation space, tensors {kind}", colour) for kind, colour, _ in HIDDEN.values()),
    ):
        draw.ellipse([x, 10, x + 11, 21], fill=colour)
        draw.text((x + 18, 6), label, "black", font)
        x += 60 + draw.textlength(label, font)
    return sheet


def draw(root: Path, target: Path) -> None:
    """Draw the panels beside each other."""
    record = root / "results" / "representation_transfer.json"
    result = Result.model_validate_json(record.read_text(encoding="utf-8"))
    figures = {name: value for name, value in result.controls.items() if value is not None}
    above = legend()
    sheet = Image.new("RGB", (above.width, above.height + HEIGHT), "white")
    sheet.paste(above, (0, 0))
    for number, study in enumerate(STUDIES):
        sheet.paste(panel(figures, study), (number * WIDTH, above.height))
    sheet.save(target, lossless=True, method=6)


PICTURES: Pictures = {"transfer-by-depth": draw}
