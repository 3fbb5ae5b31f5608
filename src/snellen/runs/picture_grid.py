"""Pictures in rows and columns: a title, a head above each column, lines of text below each row."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from snellen.runs.thumbnails import BACKGROUND, FAINT, GAP, INK, LINE, SIDE, TITLE, cut, thumbnail, thumbnail_size

#: Height of the line above a column, pixels.
HEAD = 20


def picture_grid(
    title: str, heads: Sequence[str], rows: Sequence[tuple[Sequence[Tensor], str | tuple[str, ...]]]
) -> Image.Image:
    """Draw rows of pictures, small ones enlarged without smoothing.

    Args:
        title: above everything.
        heads: one for each column.
        rows: pictures of each row, uint8 (3, h, w) of one size, one for each column; and the lines below.
    """
    tall = [max(thumbnail_size(pictures[0])[1], LINE) for pictures, _ in rows]
    texts = [(text,) if isinstance(text, str) else text for _, text in rows]
    width = GAP + len(heads) * (SIDE + GAP)
    below = sum(LINE * len(lines) + GAP for lines in texts)
    sheet = Image.new("RGB", (width, TITLE + HEAD + sum(tall) + below), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    large, small = ImageFont.load_default(15), ImageFont.load_default(12)
    draw.text((GAP, 7), cut(draw, title, large, width - 2 * GAP), INK, large)
    for column, head in enumerate(heads):
        draw.text((_left(column), TITLE + 2), cut(draw, head, small, SIDE), INK, small)
    top = TITLE + HEAD
    for (pictures, _), lines, height in zip(rows, texts, tall, strict=True):
        for column, pixels in enumerate(pictures):
            sheet.paste(thumbnail(pixels), (_left(column), top))
        for number, text in enumerate(lines):
            place = (GAP, top + height + 1 + number * LINE)
            draw.text(place, cut(draw, text, small, width - 2 * GAP), FAINT, small)
        top += height + LINE * len(lines) + GAP
    return sheet


def _left(column: int) -> int:
    return GAP + column * (SIDE + GAP)
