"""A picture of examples: clean and at every severity, or under every edit, side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

from PIL import Image
from torch import Tensor

from snellen.core.images import ImageSet
from snellen.core.randomness import Randomness
from snellen.methods.edits.masked_object import EditedObjects
from snellen.runs.layout import classes_of
from snellen.runs.picture_grid import picture_grid
from snellen.runs.settings import MAX_SEVERITY, Setting, severity_name
from snellen.verbs.shifted_batches import shifted_batches

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


def sheets(
    images: ImageSet,
    settings: Sequence[Setting],
    severities: Sequence[float],
    rng: Randomness,
    objects: EditedObjects | None,
) -> Iterator[tuple[str, str, Callable[[Sequence[int]], Image.Image]]]:
    """Sheets of a written set: name, the setting whose images are its examples, and what draws it of their positions.

    Edits of objects share a sheet for each method, at the largest severity.
    """
    for setting in settings:
        if not setting.edits:
            yield setting.name, setting.name, partial(contact_sheet, images, setting, severities, rng)
    if objects is not None:
        for name in dict.fromkeys(setting.method.name for setting in settings if setting.edits):
            together = [setting for setting in settings if setting.edits and setting.method.name == name]
            yield name, together[0].name, partial(edits_sheet, images, together, max(severities), rng, objects)


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
    pictures = [(rows[index], _caption(classes[index] or "", few.ids[index])) for index in sorted(rows)]
    return picture_grid(f"{setting.name}  ({images.name})", heads, pictures)


def edits_sheet(
    images: ImageSet,
    settings: Sequence[Setting],
    severity: float,
    rng: Randomness,
    objects: EditedObjects,
    chosen: Sequence[int],
) -> Image.Image:
    """Draw examples, one in each row, as they are and under every edit of their objects.

    Args:
        images: the set.
        settings: the edits, one column for each; each can edit all the examples.
        severity: of all of them.
        rng: of the run.
        objects: of the whole set.
        chosen: positions of the examples.
    """
    few = images.select(list(chosen))
    rows: dict[int, list[Tensor]] = {}
    for setting in settings:
        for batch in shifted_batches(few, setting, [severity], rng, batch_size=1, objects=objects):
            for row, index in enumerate(batch.indices):
                rows.setdefault(index, [batch.clean[row]]).append(batch.shifted[0, row])
    classes = classes_of(few)
    heads = ["original", *(setting.name.replace("_", " ") for setting in settings)]
    pictures = [(rows[index], _caption(classes[index] or "", few.ids[index])) for index in sorted(rows)]
    at = "" if severity == MAX_SEVERITY else f", severity {severity_name(severity)}"
    return picture_grid(f"{settings[0].method.name.replace('_', ' ')}{at}  ({images.name})", heads, pictures)


def _caption(class_name: str, example_id: str) -> str:
    return example_id if example_id.startswith(class_name) else f"{class_name}  {example_id}"


def _spread(items: Sequence[Item], count: int) -> list[Item]:
    """At most ``count`` items at even distances, in order."""
    if len(items) <= count:
        return list(items)
    return [items[position * len(items) // count] for position in range(count)]
