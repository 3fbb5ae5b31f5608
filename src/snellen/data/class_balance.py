"""Nested, class-balanced parts of an image set, and which of its images are synthetic.

A set of D images for each class begins with that of any smaller number: the order within a class is fixed, by the order
of the set or by a seed and the ids. So sizes differ by added images alone (Fan et al. 2024, nested sizes).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from snellen.core.errors import InputError
from snellen.core.images import ImageSet, Provenance
from snellen.core.randomness import derive_seed

#: Column of a generated data set: "1" for what a generator made, "0" for what it did not.
FLAG = "synthetic"

#: How the generators of procedural worlds begin in the provenance of their pictures.
_WORLDS = "snellen "


def rows_by_class(images: ImageSet, seed: int | None = None) -> dict[str, list[int]]:
    """Positions of the images of each class, in a fixed order; a class without images has an empty list.

    Args:
        images: with one label each; images without a label are left out.
        seed: of the order within a class, which then depends on the ids alone; None: the order of the set.

    Raises:
        InputError: no labels.
    """
    if not images.has_labels or images.class_names is None:
        raise InputError(f"{images.name} has no labels, so it cannot be balanced by class")
    found: dict[str, list[int]] = {name: [] for name in images.class_names}
    for position, label in enumerate(images.labels.tolist()):
        if label >= 0:
            found[images.class_names[label]].append(position)
    if seed is None:
        return found
    ids = images.ids
    return {
        name: sorted(rows, key=lambda row: (derive_seed(seed, "nested", ids[row]), ids[row]))
        for name, rows in found.items()
    }


def first_of_each(images: ImageSet, count: int, *, seed: int | None = None, allow_fewer: bool = False) -> ImageSet:
    """The first ``count`` images of each class: a part of that of any larger count.

    >>> from snellen.data.files.arrays import load_arrays
    >>> pixels = np.zeros((6, 8, 8, 3), dtype=np.uint8)
    >>> images = load_arrays(pixels, [0, 0, 0, 1, 1, 1], class_names=("cat", "dog"))
    >>> first_of_each(images, 2).labels.tolist()
    [0, 1, 0, 1]

    Args:
        images: with one label each.
        count: images of each class.
        seed: of the order within a class; None: the order of the set.
        allow_fewer: take all images of a class that has fewer, instead of refusing the set.

    Returns:
        The images in turns: the first of every class, then the second of every class, and so on.

    Raises:
        InputError: a count below 1, no labels, or a class with fewer images.
    """
    if count < 1:
        raise InputError(f"a balanced set has at least 1 image of each class; got {count}")
    rows = rows_by_class(images, seed)
    short = {name: len(found) for name, found in rows.items() if len(found) < count}
    if short and not allow_fewer:
        name, least = min(short.items(), key=lambda one: one[1])
        raise InputError(
            f"{images.name} has {least} images of class {name!r}, and {count} of each class were requested; take at "
            f"most {least} of each, or allow classes with fewer"
        )
    turns = [found[turn] for turn in range(count) for found in rows.values() if turn < len(found)]
    return images.select(turns)


def largest_balanced(images: ImageSet, *, unbalanced: bool) -> int:
    """Images of each class that a nested set can have: of the smallest class, or of the largest if that is allowed.

    Raises:
        InputError: a class without images.
    """
    counts = {name: len(rows) for name, rows in rows_by_class(images).items()}
    empty = next((name for name, count in counts.items() if not count), None)
    if empty is not None:
        raise InputError(f"{images.name} has no images of class {empty!r}, so no size of it is balanced")
    return max(counts.values()) if unbalanced else min(counts.values())


def held_out(images: ImageSet, share: int, seed: int) -> tuple[ImageSet, ImageSet]:
    """Images to train on, and one in ``share`` of each class to measure losses on; at least one of each class.

    Raises:
        InputError: a class with fewer than two images.
    """
    fitted, measured = list[int](), list[int]()
    for name, rows in rows_by_class(images, seed).items():
        if len(rows) < 2:
            raise InputError(
                f"{images.name} has {len(rows)} images of class {name!r}; one is needed to train on and one to measure "
                f"on: give images to measure on by themselves"
            )
        count = max(1, len(rows) // share)
        measured += rows[:count]
        fitted += rows[count:]
    return images.select(sorted(fitted)), images.select(sorted(measured))


def synthetic(images: ImageSet) -> NDArray[np.bool_]:
    """Whether each image was generated or edited, bool (n,). No provenance means real.

    The column ``synthetic`` of a generated data set decides, and where it is empty the provenance. Pictures of a
    procedural world of this package count as real: they are what a generator imitates.

    >>> from snellen.data.files.arrays import load_arrays
    >>> synthetic(load_arrays(np.zeros((2, 8, 8, 3), dtype=np.uint8))).tolist()
    [False, False]
    """
    texts, flags = images.column("provenance"), images.column(FLAG)
    known = {text: _made(Provenance.model_validate_json(str(text))) for text in set(texts) if text is not None}
    rows = zip(texts, flags, strict=True)
    return np.array([known.get(text, False) if flag is None else str(flag) == "1" for text, flag in rows], dtype=bool)


def _made(origin: Provenance) -> bool:
    return origin.origin != "real" and not (origin.generator or "").startswith(_WORLDS)


def mixture_weights(synthetic: NDArray[np.bool_], real_share: float | None) -> NDArray[np.float64]:
    """Weights of examples under which the real ones together count ``real_share``, and the synthetic ones the rest.

    Every example of a kind counts the same, and the weights add up to their number. Of examples of one kind alone, all
    weights are 1: the empty part adds nothing.

    >>> mixture_weights(np.array([False, True, True, True]), 0.5).round(3).tolist()
    [2.0, 0.667, 0.667, 0.667]

    Args:
        synthetic: bool (n,).
        real_share: share of the loss, in [0, 1]; None: every example counts the same.

    Raises:
        InputError: a share outside [0, 1].
    """
    if real_share is not None and not 0 <= real_share <= 1:
        raise InputError(f"the share of the real images in the loss is in [0, 1]; got {real_share}")
    count, made = len(synthetic), int(synthetic.sum())
    if real_share is None or made in (0, count):
        return np.ones(count)
    return np.where(synthetic, (1 - real_share) * count / made, real_share * count / (count - made))
