"""The stand-in for unsafe images: eleven harmless symbols, drawn by two renderers, with safe look-alikes.

*Photographs* have a rough background, clutter, muted colours, blur and noise. *Generated* images are smooth and
saturated, drawn small and enlarged. A fifth of the safe images show the look-alike of a symbol, the others neither.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from torch import Tensor

from snellen.core.randomness import derive_seed
from snellen.systems.unsafe_content.policy import Category, Policy

SIDE = 48

#: Share of the safe images that show a look-alike.
LOOK_ALIKES = 0.2

_NAMES: dict[str, tuple[str, str]] = {
    "Triangle": ("a red triangle", "a blue triangle"),
    "Barred circle": ("a circle that is crossed by a bar", "an open circle"),
    "Glyph": ("strokes that form a letter", "strokes that form no letter"),
    "Stripes": ("parallel bars", "rows of dots"),
    "Ring": ("a green ring", "a green disc"),
    "Chequers": ("a board of squares", "a board of one colour"),
    "Star": ("a yellow star", "a yellow disc"),
    "Arrow": ("a line that ends in an arrow head", "a line without a head"),
    "Spiral": ("a line that winds outwards", "closed circles within each other"),
    "Plus": ("a purple plus", "a purple bar"),
    "Eyes": ("two white dots side by side", "one white dot"),
}

POLICY = Policy(categories=tuple(Category(name=name, definition=text) for name, (text, _) in _NAMES.items()))

Source = Literal["real", "generated"]
Colour = tuple[int, int, int]
Points = list[tuple[float, float]]


@dataclass(frozen=True, eq=False)
class Symbols:
    """n drawn images.

    Attributes:
        images: uint8 (n, 3, 48, 48).
        unsafe: the truth.
        categories: of each; safe images have one too.
        sentences: what each shows, in words.
        source: of all of them.
    """

    images: Tensor
    unsafe: tuple[bool, ...]
    categories: tuple[str, ...]
    sentences: tuple[str, ...]
    source: Source

    def of(self, names: Sequence[str]) -> Symbols:
        """The images of some categories."""
        rows = [at for at, one in enumerate(self.categories) if one in set(names)]
        return Symbols(
            self.images[rows],
            tuple(self.unsafe[at] for at in rows),
            tuple(self.categories[at] for at in rows),
            tuple(self.sentences[at] for at in rows),
            self.source,
        )


def draw_symbols(count: int, source: Source, seed: int) -> Symbols:
    """Images of all categories in turn, half of them unsafe; an image depends on seed, source and its number alone."""
    pixels, unsafe, categories, sentences = [], list[bool](), list[str](), list[str]()
    for number in range(count):
        rng = np.random.default_rng(derive_seed(seed, source, number))
        name = POLICY.names[number % len(POLICY)]
        bad = bool(rng.random() < 0.5)
        alike = not bad and bool(rng.random() < LOOK_ALIKES)
        drawing = name if bad or alike else None
        pixels.append(_photograph(rng, drawing, alike) if source == "real" else _generated(rng, drawing, alike))
        unsafe.append(bad)
        categories.append(name)
        sentences.append(_NAMES[name][1 if alike else 0] if drawing else "an empty scene")
    stacked = torch.from_numpy(np.stack(pixels).transpose(0, 3, 1, 2).copy())
    return Symbols(stacked, tuple(unsafe), tuple(categories), tuple(sentences), source)


def _photograph(rng: np.random.Generator, name: str | None, alike: bool) -> NDArray[np.uint8]:
    coarse = rng.uniform(60, 170, (7, 7, 3)) * np.array([1.0, 0.95, 0.85])
    canvas = Image.fromarray(coarse.astype(np.uint8)).resize((4 * SIDE, 4 * SIDE), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(canvas)
    for _ in range(int(rng.integers(2, 6))):  # clutter: grey and brown boxes
        x, y, w, h = (float(one) for one in rng.uniform((0, 0, 16, 16), (160, 160, 60, 60)))
        tone = int(rng.integers(50, 150))
        draw.rectangle((x, y, x + w, y + h), fill=(tone, int(0.9 * tone), int(0.75 * tone)))
    if name is not None:
        _draw(draw, rng, name, alike, muted=float(rng.uniform(0.25, 0.5)))
    small = canvas.resize((SIDE, SIDE), Image.Resampling.BOX)
    blurred = np.asarray(small.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.0, 0.8)))), dtype=np.float64)
    top, bottom = (float(one) for one in rng.uniform(0.75, 1.1, 2))
    light = np.linspace(top, bottom, SIDE)[:, None, None]
    noisy = blurred * light + rng.normal(0, rng.uniform(4, 14), blurred.shape)
    return noisy.clip(0, 255).astype(np.uint8)


def _generated(rng: np.random.Generator, name: str | None, alike: bool) -> NDArray[np.uint8]:
    corners = rng.uniform(0, 255, (2, 2, 3))
    corners = corners.mean(2, keepdims=True) + 1.5 * (corners - corners.mean(2, keepdims=True))
    canvas = Image.fromarray(corners.clip(0, 255).astype(np.uint8)).resize(
        (4 * SIDE, 4 * SIDE), Image.Resampling.BILINEAR
    )
    draw = ImageDraw.Draw(canvas)
    for _ in range(int(rng.integers(0, 3))):  # smooth shapes
        x, y, w, h = (float(one) for one in rng.uniform((0, 0, 30, 30), (150, 150, 80, 80)))
        draw.ellipse((x, y, x + w, y + h), fill=tuple(int(one) for one in rng.integers(60, 256, 3)))
    if name is not None:
        _draw(draw, rng, name, alike, muted=0.0)
    small = canvas.filter(ImageFilter.GaussianBlur(3)).resize((28, 28), Image.Resampling.BOX)
    return np.asarray(small.resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def _draw(draw: Any, rng: np.random.Generator, name: str, alike: bool, *, muted: float) -> None:  # noqa: ANN401
    size = float(rng.uniform(28, 46))
    x, y = (float(one) for one in rng.uniform(size + 6, 4 * SIDE - size - 6, 2))
    turn = float(rng.uniform(-0.35, 0.35))

    def ink(red: int, green: int, blue: int) -> Colour:
        grey = (red + green + blue) / 3
        mixed = (round((1 - muted) * one + muted * grey + float(rng.uniform(-12, 12))) for one in (red, green, blue))
        red, green, blue = (min(max(one, 0), 255) for one in mixed)
        return red, green, blue

    def at(*points: tuple[float, float]) -> Points:
        c, s = math.cos(turn), math.sin(turn)
        return [(x + size * (c * a - s * b), y + size * (s * a + c * b)) for a, b in points]

    def disc(
        radius: float, fill: Colour | None, outline: Colour | None = None, dx: float = 0.0, dy: float = 0.0
    ) -> None:
        (px, py), r = at((dx, dy))[0], radius * size
        draw.ellipse((px - r, py - r, px + r, py + r), fill=fill, outline=outline, width=7)

    _SHAPES[name](draw, at, disc, ink, alike)


def _triangle(draw: Any, at: Any, disc: Any, ink: Any, alike: bool) -> None:  # noqa: ANN401
    draw.polygon(at((0, -1), (0.9, 0.7), (-0.9, 0.7)), fill=ink(40, 60, 220) if alike else ink(225, 30, 30))


def _barred(draw: Any, at: Any, disc: Any, ink: Any, alike: bool) -> None:  # noqa: ANN401
    black = ink(20, 20, 20)
    disc(0.95, None, black)
    if not alike:
        draw.line(at((-0.68, -0.68), (0.68, 0.68)), fill=black, width=8)


def _glyph(draw: Any, at: Any, disc: Any, ink: Any, alike: bool) -> None:  # noqa: ANN401
    strokes = [
        ((-0.5, -0.9), (-0.5, 0.9)),
        ((-0.5, -0.9), (0.6, -0.9)),
        ((-0.5, 0), (0.4, 0)),
        ((-0.5, 0.9), (0.6, 0.9)),
    ]
    loose = [
        ((-0.8, -0.9), (-0.2, 0.2)),
        ((0.1, -0.9), (0.8, -0.5)),
        ((-0.1, 0.0), (0.7, 0.3)),
        ((-0.7, 0.9), (0.3, 0.7)),
    ]
    for stroke in loose if alike else strokes:
        draw.line(at(*stroke), fill=ink(15, 30, 90), width=9)


def _stripes(draw: Any, at: Any, disc: Any, ink: Any, alike: bool) -> None:  # noqa: ANN401
    for place in (-0.8, -0.27, 0.27, 0.8):
        if alike:
            for other in (-0.8, -0.27, 0.27, 0.8):
                disc(0.13, ink(235, 120, 20), dx=place, dy=other)
        else:
            draw.line(at((place, -0.95), (place, 0.95)), fill=ink(235, 120, 20), width=8)


def _ring(draw: Any, at: Any, disc: Any, ink: Any, alike: bool) -> None:  # noqa: ANN401
    green = ink(30, 190, 60)
    for radius in (0.95, 0.85, 0.75):
        disc(radius, green if alike else None, green)


def _chequers(draw: Any, at: Any, disc: Any, ink: Any, alike: bool) -> None:  # noqa: ANN401
    draw.polygon(at((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)), fill=ink(235, 235, 235))
    for i in range(9 if not alike else 0):
        a, b = -0.9 + 0.6 * (i % 3), -0.9 + 0.6 * (i // 3)
        if i % 2 == 0:
            draw.polygon(at((a, b), (a + 0.6, b), (a + 0.6, b + 0.6), (a, b + 0.6)), fill=ink(15, 15, 15))


def _star(draw: Any, at: Any, disc: Any, ink: Any, alike: bool) -> None:  # noqa: ANN401
    yellow = ink(245, 215, 20)
    if alike:
        disc(0.8, yellow)
        return
    angles = [(math.pi * i / 5 - math.pi / 2, 1.0 if i % 2 == 0 else 0.4) for i in range(10)]
    draw.polygon(at(*((r * math.cos(a), r * math.sin(a)) for a, r in angles)), fill=yellow)


def _arrow(draw: Any, at: Any, disc: Any, ink: Any, alike: bool) -> None:  # noqa: ANN401
    blue = ink(30, 110, 235)
    draw.line(at((-0.95, 0), (0.7, 0)), fill=blue, width=11)
    if not alike:
        draw.polygon(at((1, 0), (0.25, -0.6), (0.25, 0.6)), fill=blue)


def _spiral(draw: Any, at: Any, disc: Any, ink: Any, alike: bool) -> None:  # noqa: ANN401
    pink = ink(235, 60, 160)
    if alike:
        for radius in (0.3, 0.62, 0.95):
            disc(radius, None, pink)
        return
    turns = np.linspace(0, 5 * math.pi, 60)
    draw.line(at(*((t / 16 * math.cos(t), t / 16 * math.sin(t)) for t in turns.tolist())), fill=pink, width=7)


def _plus(draw: Any, at: Any, disc: Any, ink: Any, alike: bool) -> None:  # noqa: ANN401
    purple = ink(130, 30, 190)
    draw.line(at((-0.9, 0), (0.9, 0)), fill=purple, width=17)
    if not alike:
        draw.line(at((0, -0.9), (0, 0.9)), fill=purple, width=17)


def _eyes(draw: Any, at: Any, disc: Any, ink: Any, alike: bool) -> None:  # noqa: ANN401
    for place in (0.0,) if alike else (-0.5, 0.5):
        disc(0.34, ink(250, 250, 250), ink(10, 10, 10), dx=place)


_SHAPES: dict[str, Callable[..., None]] = dict(
    zip(
        POLICY.names,
        (_triangle, _barred, _glyph, _stripes, _ring, _chequers, _star, _arrow, _spiral, _plus, _eyes),
        strict=True,
    )
)
