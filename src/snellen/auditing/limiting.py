"""Fewer images for a quicker audit: drawn at random, and by whole bags where bags are judged."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from snellen.checks.per_image import BAG, BAG_LABEL, rows_of
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.randomness import Randomness


def limited(images: ImageSet, count: int, seed: int) -> ImageSet:
    """At most ``count`` images, drawn at random and kept in their order.

    Where bags have labels, whole bags are drawn: the score of a part of a slide is not the score of the slide. Bags
    come in random order, and one that no longer fits is passed over. An image without bag is drawn by itself.

    Raises:
        InputError: a limit below 1, or one below the images of the smallest bag.
    """
    if count >= len(images) or not _in_labelled_bags(images):
        return images.limit(count, seed)
    members = _members(images)
    drawn = np.random.default_rng(Randomness(seed).generator("limit").initial_seed()).permutation(len(members))
    groups, chosen, room = list(members.values()), list[int](), count
    for place in drawn.tolist():
        if len(groups[place]) <= room:
            chosen += groups[place].tolist()
            room -= len(groups[place])
    if not chosen:
        raise InputError(
            f"a limit of {count} images is less than the smallest bag of {images.name} has "
            f"({min(map(len, groups))}); bags are audited whole: ask for that many at least"
        )
    return images.select(sorted(chosen))


def smallest_limit(images: ImageSet) -> int:
    """The least number of images that :func:`limited` can draw: those of the smallest bag, or one."""
    return min(map(len, _members(images).values())) if len(images) and _in_labelled_bags(images) else 1


def _in_labelled_bags(images: ImageSet) -> bool:
    return any(label is not None for label in images.column(BAG_LABEL))


def _members(images: ImageSet) -> dict[str, NDArray[np.int64]]:
    """Rows of each bag; an image without bag is one by itself."""
    return rows_of([f"image {row}" if bag is None else f"bag {bag}" for row, bag in enumerate(images.column(BAG))])
