"""A picture of examples: clean and at every severity, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from snellen.images import ImageSet
from snellen.randomness import Randomness
from snellen.writing.layout import classes_of
from snellen.writing.settings import Setting, severity_name
from snellen.writing.shifted_batches import shifted_batches
from snellen.writing.thumbnails import BACKGROUND, FAINT, GAP, INK, LINE, SIDE, TITLE, cut, thumbnail, thumbnail_size

#: Rows of a sheet.
EXAMPLES = 6

#: Height of the line above a column, pixels.
HEAD = 20

Item = TypeVar("Item", int, str)


def choose_examples(images: ImageSet, usable: Sequence[int], count: int = EXAMPLES) -> list[int]:
    """Positions of a few images, spread over the classes, and over the set within a class."""
    by_class: dict[str, list[int]] = {}
    classes = classes_of(images)
    for index in usable:
        by_class.setdefault(classes[index] or "", []).append(index)
    names = _spread(sorted(by_class), count)
    shares = dict.fromkeys(names, 0)
    for _ in range(min(count, sum(len(by_class[name]) for name in names))):
        free = [name for name in names if shares[name] < len(by_class[name])]
        shares[min(free, key=shares.__getitem__)] += 1
    return [index for name in names for index in _spread(by_class[name], shares[name])]


def contact_sheet(
    images: ImageSet, setting: Setting, severities: Sequence[float], rng: Randomness, chosen: Sequence[int]
) -> Image.Image:
    """Draw examples, one in each row, as they are and at every severity. Small images are enlarged without smoothing.

    Args:
        images: the set.
        setting: what is done to them.
        severities: one column for each.
        rng: of the run; the same images come out as were written.
        chosen: positions of the examples.
    """
    few = images.select(list(chosen))
    rows: dict[int, list[Tensor]] = {}
    for batch in shifted_batches(few, setting, severities, rng, batch_size=1):
        for row, index in enumerate(batch.indices):
            rows[index] = [batch.clean[row], *batch.shifted[:, row]]
    classes = classes_of(few)
    heads = ["clean", *(f"severity {severity_name(severity)}" for severity in severities)]
    tall = [max(thumbnail_size(rows[index][0])[1], LINE) for index in sorted(rows)]
    width = GAP + len(heads) * (SIDE + GAP)
    sheet = Image.new("RGB", (width, TITLE + HEAD + sum(side + LINE + GAP for side in tall)), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    large, small = ImageFont.load_default(15), ImageFont.load_default(12)
    draw.text((GAP, 7), cut(draw, f"{setting.name}  ({images.name})", large, width - 2 * GAP), INK, large)
    for column, head in enumerate(heads):
        draw.text((_left(column), TITLE + 2), head, INK, small)
    top = TITLE + HEAD
    for index, height in zip(sorted(rows), tall, strict=True):
        for column, pixels in enumerate(rows[index]):
            sheet.paste(thumbnail(pixels), (_left(column), top))
        class_name, example_id = classes[index] or "", few.ids[index]
        told = example_id if example_id.startswith(class_name) else f"{class_name}  {example_id}"
        draw.text((GAP, top + height + 1), cut(draw, told, small, width - 2 * GAP), FAINT, small)
        top += height + LINE + GAP
    return sheet


def _left(column: int) -> int:
    return GAP + column * (SIDE + GAP)


def _spread(items: Sequence[Item], count: int) -> list[Item]:
    """At most ``count`` items at even distances, in order."""
    if len(items) <= count:
        return list(items)
    return [items[position * len(items) // count] for position in range(count)]
