"""Pictures of an image set side by side, with what each is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from snellen.core.errors import RejectedImageError
from snellen.core.images import ImageSet
from snellen.runs.layout import classes_of
from snellen.runs.thumbnails import BACKGROUND, FAINT, GAP, INK, LINE, SIDE, TITLE, cut, thumbnail, thumbnail_size

#: Lines of text below a picture, for a class or a caption.
CAPTION_LINES = 5


def image_sheet(images: ImageSet, indices: Sequence[int], *, columns: int = 6, captions: bool = False) -> Image.Image:
    """Draw images in rows, small ones enlarged without smoothing, with their class or their caption.

    Args:
        images: the set.
        indices: positions of the images; those that cannot be read are left out.
        columns: images in a row.
        captions: write captions instead of classes, where there are any.
    """
    classes, caption_column = classes_of(images), images.column("caption")
    shown: list[tuple[torch.Tensor, str]] = []
    for index in indices:
        try:
            pixels = torch.from_numpy(np.array(images.read(index))).permute(2, 0, 1)
        except RejectedImageError:
            continue
        text = (
            str(caption_column[index])
            if captions and caption_column[index] is not None
            else classes[index] or images.ids[index]
        )
        shown.append((pixels, text))
    return captioned_sheet(images.name, shown, columns=columns, lines=CAPTION_LINES if captions else 1)


def captioned_sheet(
    title: str, shown: Sequence[tuple[torch.Tensor, str]], *, columns: int = 6, lines: int = 1
) -> Image.Image:
    """Draw pictures in rows, each with its own text below it.

    Args:
        title: above everything.
        shown: pictures, uint8 (3, h, w), and texts.
        columns: pictures in a row.
        lines: of a text, at most.
    """
    rows = [shown[start : start + columns] for start in range(0, len(shown), columns)]
    tall = [max(thumbnail_size(pixels)[1] for pixels, _ in row) for row in rows]
    below = lines * LINE + GAP
    sheet = Image.new("RGB", (GAP + columns * (SIDE + GAP), TITLE + sum(height + below for height in tall)), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    large, small = ImageFont.load_default(15), ImageFont.load_default(12)
    draw.text((GAP, 7), cut(draw, title, large, sheet.width - 2 * GAP), INK, large)
    top = TITLE
    for row, height in zip(rows, tall, strict=True):
        for column, (pixels, text) in enumerate(row):
            left = GAP + column * (SIDE + GAP)
            sheet.paste(thumbnail(pixels), (left, top))
            for number, line in enumerate(_wrapped(draw, text, small, lines)):
                draw.text((left, top + height + 1 + number * LINE), line, FAINT, small)
        top += height + below
    return sheet


def _wrapped(
    draw: ImageDraw.ImageDraw, text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, lines: int
) -> list[str]:
    """A text in at most so many lines of a picture's width, the last one cut."""
    found = [""]
    for word in text.split():
        longer = f"{found[-1]} {word}".strip()
        if draw.textlength(longer, font) <= SIDE or not found[-1] or len(found) == lines:
            found[-1] = longer
        else:
            found.append(word)
    return [cut(draw, line, font, SIDE) for line in found]
