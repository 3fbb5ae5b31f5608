"""What is known of the images of a set, as text for a manifest that :func:`snellen.load_images` reads."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from snellen.images import ImageSet


def label_columns(images: ImageSet, classes: Sequence[str | None]) -> dict[str, list[str]]:
    """Columns ``labels`` or ``label``; none where nothing is known or may be read.

    Args:
        images: the set.
        classes: name of each image's class, None where it is unknown.
    """
    several = [None] * len(images) if images.hidden else images.column("labels")
    if any(value is not None for value in several):
        return {"labels": ["" if value is None else json.dumps(value) for value in several]}
    if any(name is not None for name in classes):
        return {"label": _label_texts(images, classes)}
    return {}


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


def _label_texts(images: ImageSet, classes: Sequence[str | None]) -> list[str]:
    """Class names; their numbers where a manifest would take a name for something else."""
    if all(name and not re.fullmatch(r"-\d+|-?\d+\.0", name) for name in set(classes) - {None}):
        return [name or "" for name in classes]
    return ["" if label < 0 else str(label) for label in images.labels.tolist()]
