"""Generated images by class: a row for each, so that classes that fail, or whose images all look alike, stand out."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from snellen.core.errors import RejectedImageError
from snellen.core.images import ImageSet
from snellen.runs.layout import classes_of
from snellen.runs.picture_grid import picture_grid

#: The most rows, and pictures in a row.
MOST_CLASSES, IN_A_ROW = 20, 8


def class_grid(images: ImageSet) -> Image.Image | None:
    """Draw the first images of every class, a row for each class in the order of the set.

    Returns:
        The picture; None for a set of one class or of none, or with one image of each, which a sheet shows as well.

    Args:
        images: the set; images without a class and those that cannot be read are left out. Of more than 20 classes the
            title says how many are shown.
    """
    by_class: dict[str, list[int]] = {}
    for index, name in enumerate(classes_of(images)):
        if name is not None:
            by_class.setdefault(name, []).append(index)
    if len(by_class) < 2 or max(map(len, by_class.values())) < 2:
        return None
    shown = dict(list(by_class.items())[:MOST_CLASSES])
    rows = [(pictures, name) for name, members in shown.items() if (pictures := _read(images, members[:IN_A_ROW]))]
    if not rows:
        return None
    columns = max(len(pictures) for pictures, _ in rows)
    few = f", {len(shown)} of {len(by_class)} classes" if len(shown) < len(by_class) else ""
    return picture_grid(f"{images.name}{few}", [str(number + 1) for number in range(columns)], rows)


def _read(images: ImageSet, members: list[int]) -> list[Tensor]:
    found = []
    for index in members:
        try:
            found.append(torch.from_numpy(np.array(images.read(index))).permute(2, 0, 1))
        except RejectedImageError:
            continue
    return found
