"""Small pictures and lines of text, as sheets of examples show them."""

from __future__ import annotations

import io

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from snellen.core.preprocessing import to_image

#: Longer side of a thumbnail, what lies around it, height of a title and of a line of text; pixels.
SIDE, GAP, TITLE, LINE = 160, 8, 30, 18

BACKGROUND, INK, FAINT = "white", "black", (110, 110, 110)


def thumbnail_size(pixels: Tensor) -> tuple[int, int]:
    """Width and height: whole multiples of small images."""
    height, width = pixels.shape[1:]
    longer = max(height, width)
    if longer <= SIDE:
        return width * (SIDE // longer), height * (SIDE // longer)
    return max(round(width * SIDE / longer), 1), max(round(height * SIDE / longer), 1)


def thumbnail(pixels: Tensor) -> Image.Image:
    """Pixels uint8 (3, h, w) as a small picture; enlarged without smoothing, reduced with it."""
    size = thumbnail_size(pixels)
    enlarged = size[0] >= pixels.shape[2]
    return to_image(pixels).resize(size, Image.Resampling.NEAREST if enlarged else Image.Resampling.LANCZOS)


def cut(draw: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """Text in one line that fits, with what cannot be shown left out."""
    shown = "".join(c if c.isprintable() else " " for c in text)[:400]
    if draw.textlength(shown, font) <= width:
        return shown
    while shown and draw.textlength(f"{shown}…", font) > width:
        shown = shown[:-1]
    return f"{shown}…"


def png(picture: Image.Image) -> bytes:
    """A picture as the bytes of a PNG file."""
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    return stream.getvalue()
