"""Where each image of a set lies in the written folder, what it is called, and its columns in a manifest."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from snellen.core.images import ImageSet
from snellen.runs.safe_names import UNLABELLED, file_names, folder_names
from snellen.runs.settings import severity_name


class Layout:
    """Paths of images: ``SETTING/SEVERITY/CLASS/NAME.png``, without the class where the set has one label for none.

    Args:
        images: the set; ids and class names may be anything.
    """

    def __init__(self, images: ImageSet) -> None:
        self.classes = classes_of(images)
        known = [name for name in self.classes if name is not None]
        self._folders = folder_names([*(images.class_names or ()), *known])
        self._labelled = bool(known)
        self._names = file_names(images.ids, ".png")

    def path(self, setting: str, severity: float, index: int) -> str:
        """Path of one image, relative to the folder, with forward slashes."""
        return f"{setting}/{severity_name(severity)}/{self.place(index)}"

    def place(self, index: int) -> str:
        """The end of its path, which is the same in every setting: ``CLASS/NAME.png``."""
        name = self.classes[index]
        middle = [self._folders[name] if name is not None else UNLABELLED] if self._labelled else []
        return "/".join([*middle, self._names[index]])


def classes_of(images: ImageSet) -> Sequence[str | None]:
    """Name of the class of each image; None where it is unknown or may not be read."""
    if images.hidden:
        return [None] * len(images)
    names = images.class_names
    labels = images.labels.tolist()
    return [None if label < 0 else names[label] if names else str(label) for label in labels]


def label_columns(images: ImageSet, classes: Sequence[str | None]) -> dict[str, list[str]]:
    """Columns ``labels`` or ``label``, and ``bag_label``; none where nothing is known or may be read.

    Args:
        images: the set.
        classes: name of each image's class, None where it is unknown.
    """
    several = [None] * len(images) if images.hidden else images.column("labels")
    numbers = [-1 if number is None else int(str(number)) for number in images.column("bag_label")]
    names = images.class_names or ()
    of_bags = [None if number < 0 else names[number] if names else str(number) for number in numbers]
    # A manifest reads both columns as names or both as numbers.
    named = all(name and not re.fullmatch(r"-\d+|-?\d+\.0", name) for name in {*classes, *of_bags} - {None})
    found: dict[str, list[str]] = {}
    if any(value is not None for value in several):
        found["labels"] = ["" if value is None else json.dumps(value) for value in several]
    elif any(name is not None for name in classes):
        found["label"] = _label_texts(classes, images.labels.tolist(), named=named)
    if any(name is not None for name in of_bags):
        found["bag_label"] = _label_texts(of_bags, numbers, named=named)
    return found


def text_columns(images: ImageSet, columns: Sequence[str]) -> dict[str, list[str]]:
    """Columns of text, those of the given ones that say something; the split of a whole set is that of its images."""
    found: dict[str, list[str]] = {}
    for column in columns:
        values = images.column(column)
        if column == "split" and images.split is not None:
            values = [value or images.split for value in values]
        if any(value is not None for value in values):
            found[column] = [_text(value) for value in values]
    return found


def _text(value: object) -> str:
    if value is None:
        return ""
    # What JSON does not know (a date in a further column) is written as Python writes it.
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _label_texts(classes: Sequence[str | None], numbers: Sequence[int], *, named: bool) -> list[str]:
    """Class names; their numbers where a manifest would take a name for something else."""
    if named:
        return [name or "" for name in classes]
    return ["" if number < 0 else str(number) for number in numbers]
