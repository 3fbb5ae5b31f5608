"""Splits of what is drawn independently: no patient, lot or individual on two sides; and the same with leaks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from snellen.core.errors import InputError
from snellen.core.images import COLUMNS, ImageSet, Provenance, Split
from snellen.core.randomness import Randomness
from snellen.data.worlds.planting.planted_defect import uniform_by_id
from snellen.data.worlds.planting.truth import set_column, with_truth

SPLITS: tuple[Split, ...] = get_args(Split)


def instance_splits(images: ImageSet, shares: Mapping[Split, float], *, rng: Randomness) -> ImageSet:
    """Divide the images by unit: all images of a unit are of one split, and each image without a unit is its own,
    together with what was made of it.

    Units are divided within each class (that of a unit's image with the least id), so that all splits have all classes
    where there are units enough. Numbers of units are exact up to rounding, so a unit's split depends on which units
    there are, but not on the order of images. Ids stay as they are.

    >>> from snellen.data.files.arrays import load_arrays
    >>> images = load_arrays(np.zeros((10, 4, 4), dtype=np.uint8), [0] * 10)
    >>> divided = instance_splits(images, {"train": 0.8, "test": 0.2}, rng=Randomness(0))
    >>> len(divided.of_split("train")), len(divided.of_split("test"))
    (8, 2)

    Args:
        images: any set; a split that it has is forgotten.
        shares: split → share of the units; they sum to 1.
        rng: which units go where.

    Raises:
        InputError: shares that are negative or do not sum to 1, or that leave a split without a unit.
    """
    names, edges = _checked(shares)
    units, member = _units(images)
    strata = _strata(images, member, len(units))
    draws = uniform_by_id(rng.child("splits"), units, "unit")
    classes = np.unique(strata)
    # Where a class has few units, chance decides which split gets one more: always rounding would starve the small one.
    offsets = uniform_by_id(rng.child("splits"), [str(one) for one in classes], "offset")
    side = np.empty(len(units), dtype=np.int64)
    for stratum, offset in zip(classes, offsets, strict=True):
        inside = np.flatnonzero(strata == stratum)
        ranked = inside[np.lexsort((np.asarray(units)[inside], draws[inside]))]
        side[ranked] = np.searchsorted(edges, (np.arange(len(ranked)) + offset) / len(ranked), side="right")
    return _with_splits(images, [names[place] for place in side[member]], names)


def leaky_splits(
    images: ImageSet, shares: Mapping[Split, float], *, rng: Randomness, leak: float = 1.0, key: str = "leaky_splits"
) -> ImageSet:
    """Divide the images and forget about units: the defect that :func:`instance_splits` avoids.

    Each unit leaks with probability ``leak``; its images are then dealt one by one, each on its own, and others stay
    together. What happens to a unit depends on the seed, its name and the ids of its images alone. ``planted`` holds,
    for each image of a unit that lies on several sides, which those are.

    >>> from snellen.data.files.arrays import load_arrays
    >>> images = load_arrays(np.zeros((10, 4, 4), dtype=np.uint8), [0] * 10)
    >>> table = images.table.append_column("unit_id", pa.array(["a"] * 5 + ["b"] * 5))
    >>> leaky = leaky_splits(replace(images, table=table), {"train": 0.5, "test": 0.5}, rng=Randomness(0))
    >>> set(leaky.column("split")[:5]) == set(leaky.column("split")[5:]) == {"train", "test"}
    True

    Args:
        images: any set; a split that it has is forgotten.
        shares: split → share of the units, on average; they sum to 1.
        rng: who goes where.
        leak: probability that a unit leaks, 0 to 1.
        key: name in the column ``planted``.

    Raises:
        InputError: shares that are negative or do not sum to 1, or that leave a split without an image.
    """
    if not 0 <= leak <= 1:
        raise InputError(f"leak is a probability in [0, 1], got {leak}")
    names, edges = _checked(shares)
    units, member = _units(images)
    draws = rng.child("splits", key)
    leaks = (uniform_by_id(draws, units, "leak") < leak)[member]
    alone, together = uniform_by_id(draws, images.ids, "image"), uniform_by_id(draws, units, "unit")[member]
    side = np.searchsorted(edges, np.where(leaks, alone, together), side="right")
    present = np.zeros((len(units), len(names)), dtype=np.bool_)
    present[member, side] = True
    several = present.sum(1) > 1
    entries = [
        {"unit_in": [name for name, there in zip(names, present[unit], strict=True) if there]}
        if several[unit]
        else None
        for unit in member.tolist()
    ]
    return _with_splits(with_truth(images, key, entries), [names[place] for place in side], names)


def _checked(shares: Mapping[Split, float]) -> tuple[list[Split], NDArray[np.float64]]:
    """Splits with a share above 0, and the borders between them, in [0, 1)."""
    unknown = sorted(set(shares) - set(SPLITS))
    values = [float(share) for share in shares.values()]
    if unknown or not all(share >= 0 for share in values) or not abs(sum(values) - 1) < 1e-9:
        raise InputError(f"shares of {', '.join(SPLITS)} must be at least 0 and sum to 1, got {dict(shares)}")
    names: list[Split] = [name for name in SPLITS if shares.get(name, 0) > 0]
    return names, np.cumsum([shares[name] for name in names])[:-1]


def _units(images: ImageSet) -> tuple[list[str], NDArray[np.int64]]:
    """Names of the units, and which of them each image belongs to (n,)."""
    named = zip(images.column("unit_id"), images.ids, images.column("provenance"), strict=True)
    present = set(images.ids)
    # Prefixes keep an image without a unit apart from a unit that is called like it.
    names = [
        f"unit {unit}" if unit is not None else f"image {_original(example_id, provenance, present)}"
        for unit, example_id, provenance in named
    ]
    units, member = np.unique(np.asarray(names, dtype=np.str_), return_inverse=True)
    return units.tolist(), member.astype(np.int64)


def _original(example_id: str, provenance: object, present: set[str]) -> str:
    """The image that an image was made from, where that is in the set; else the image itself."""
    source = None if provenance is None else Provenance.model_validate_json(str(provenance)).source_id
    return source if source in present else example_id


def _strata(images: ImageSet, member: NDArray[np.int64], units: int) -> NDArray[np.int64]:
    strata = np.full(units, -1, dtype=np.int64)
    if images.has_labels:
        by_id = np.argsort(np.asarray(images.ids, dtype=np.str_))[::-1]
        strata[member[by_id]] = images.labels[by_id]  # the last one written is that of the least id
    return strata


def _with_splits(images: ImageSet, splits: Sequence[Split], names: Sequence[Split]) -> ImageSet:
    empty = [name for name in names if name not in set(splits)]
    if len(images) and empty:
        raise InputError(f"too few units in {images.name}: nothing is left for {', '.join(empty)}")
    return replace(images, table=set_column(images.table, "split", pa.array(splits, COLUMNS["split"])), split=None)
