"""Rows of small pictures with a few words below each, for the pages of published systems."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from snellen.core.preprocessing import to_image

#: Space between tiles, height of a row's title, of a line of words, and width of a frame; pixels.
GAP, TITLE, LINE, FRAME = 8, 24, 17, 3

BACKGROUND, INK = "white", "black"
#: Colours of a frame: a decision that is right, one that is wrong, and one that is neither.
RIGHT, WRONG, NEUTRAL = "#1b7f3b", "#c0392b", "#9a9a9a"


@dataclass(frozen=True, eq=False)
class Tile:
    """A picture and what stands with it.

    Attributes:
        pixels: uint8 (3, h, w).
        lines: words below it.
        frame: colour around it; None: no frame.
    """

    pixels: Tensor
    lines: tuple[str, ...] = ()
    frame: str | None = None


def as_bytes(picture: Tensor) -> Tensor:
    """A picture (1 or 3, h, w) in [0, 1] as bytes (3, h, w); values outside are cut."""
    return (picture.detach().clamp(0, 1) * 255).round().to(torch.uint8).expand(3, -1, -1)


def verdict(decided: str, truth: str) -> str:
    """The colour of a frame for a decision."""
    return RIGHT if decided == truth else WRONG


def tile_sheet(rows: Sequence[tuple[str, Sequence[Tile]]], side: int) -> Image.Image:
    """Draw rows of tiles, each row below its title; small pictures are enlarged without smoothing.

    >>> tile_sheet([("two", [Tile(torch.zeros(3, 8, 8, dtype=torch.uint8), ("word",))] * 2)], 64).size
    (152, 115)

    Args:
        rows: title and tiles of each; an empty title takes no room.
        side: height and width that every picture is given, pixels.
    """
    width = GAP + max(len(tiles) for _, tiles in rows) * (side + GAP)
    heights = [
        TITLE * bool(title) + side + LINE * max(len(tile.lines) for tile in tiles) + GAP for title, tiles in rows
    ]
    sheet = Image.new("RGB", (width, sum(heights) + GAP // 4), BACKGROUND)
    draw, large, small = ImageDraw.Draw(sheet), ImageFont.load_default(15), ImageFont.load_default(13)
    top = 0
    for (title, tiles), height in zip(rows, heights, strict=True):
        draw.text((GAP, top + 3), title, INK, large)
        upper = top + TITLE * bool(title)
        for column, tile in enumerate(tiles):
            left = GAP + column * (side + GAP)
            enlarged = tile.pixels.shape[2] <= side
            how = Image.Resampling.NEAREST if enlarged else Image.Resampling.LANCZOS
            sheet.paste(to_image(tile.pixels).resize((side, side), how), (left, upper))
            if tile.frame is not None:
                draw.rectangle([left, upper, left + side - 1, upper + side - 1], outline=tile.frame, width=FRAME)
            for number, line in enumerate(tile.lines):
                draw.text((left, upper + side + 1 + number * LINE), line, INK, small)
        top += height
    return sheet


def stack(sheets: Sequence[Image.Image]) -> Image.Image:
    """Sheets below each other, at the left.

    >>> stack([Image.new("RGB", (8, 2)), Image.new("RGB", (6, 3))]).size
    (8, 5)
    """
    made = Image.new("RGB", (max(one.width for one in sheets), sum(one.height for one in sheets)), BACKGROUND)
    top = 0
    for one in sheets:
        made.paste(one, (0, top))
        top += one.height
    return made
