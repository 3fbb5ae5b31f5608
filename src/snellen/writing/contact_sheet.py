"""A picture of examples: clean and at every severity, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from PIL import Image
from torch import Tensor

from snellen.images import ImageSet
from snellen.randomness import Randomness
from snellen.writing.layout import classes_of
from snellen.writing.picture_grid import picture_grid
from snellen.writing.settings import Setting, severity_name
from snellen.writing.shifted_batches import shifted_batches

#: Rows of a sheet.
EXAMPLES = 6

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
    pictures = [(rows[index], _told(classes[index] or "", few.ids[index])) for index in sorted(rows)]
    return picture_grid(f"{setting.name}  ({images.name})", heads, pictures)


def _told(class_name: str, example_id: str) -> str:
    return example_id if example_id.startswith(class_name) else f"{class_name}  {example_id}"


def _spread(items: Sequence[Item], count: int) -> list[Item]:
    """At most ``count`` items at even distances, in order."""
    if len(items) <= count:
        return list(items)
    return [items[position * len(items) // count] for position in range(count)]
