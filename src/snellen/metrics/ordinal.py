"""Classes in order, such as grades of a disease: how far off predictions are, all from one table that merges."""

from __future__ import annotations

import numpy as np

from snellen.core.errors import InputError
from snellen.metrics.classification import ConfusionCounts


def mean_absolute_error(counts: ConfusionCounts) -> float:
    """Mean distance between label and prediction, in classes.

    >>> mean_absolute_error(ConfusionCounts.of([0, 1, 2, 2], [0, 2, 0, 2], 3))
    0.75

    Args:
        counts: confusion counts whose classes stand in order, one step apart.

    Returns:
        From 0 to k − 1; NaN when nothing was counted.
    """
    by_distance = _by_distance(counts)
    total = sum(distance * images for distance, images in enumerate(by_distance))
    return total / counts.n if counts.n else float("nan")


def quadratic_weighted_kappa(counts: ConfusionCounts) -> float:
    """Agreement beyond chance with squared distances as weights (Cohen 1968).

    1 − Σ (i − j)² O_ij / Σ (i − j)² E_ij, where O is the table and E what independent labels and predictions of the
    same frequencies would give, row_i column_j / n. Counted in integers, so that only the last steps round.

    >>> quadratic_weighted_kappa(ConfusionCounts.of([0, 1, 2, 2], [0, 2, 1, 2], 3))
    0.6363636363636364

    Args:
        counts: confusion counts whose classes stand in order, one step apart.

    Returns:
        1 for perfect agreement, 0 for chance, below 0 for worse, at least −1; NaN when nothing was counted, or when all
        labels and all predictions are one and the same class.
    """
    observed = sum(distance**2 * images for distance, images in enumerate(_by_distance(counts)))
    rows, columns = ([int(images) for images in counts.table.sum(axis)] for axis in (1, 0))
    # Σ (i − j)² r_i c_j = n Σ i² r_i + n Σ j² c_j − 2 Σ i r_i Σ j c_j: no table of k², and no number that overflows.
    squares = sum(place**2 * (row + column) for place, (row, column) in enumerate(zip(rows, columns, strict=True)))
    first, second = (sum(place * images for place, images in enumerate(side)) for side in (rows, columns))
    by_chance = counts.n * squares - 2 * first * second
    return 1 - counts.n * observed / by_chance if by_chance else float("nan")


def share_within(counts: ConfusionCounts, classes: int = 1) -> float:
    """Share of predictions at most so many classes from the label; with 0, the accuracy.

    >>> share_within(ConfusionCounts.of([0, 1, 2, 2], [0, 2, 0, 2], 3))
    0.75

    Args:
        counts: confusion counts whose classes stand in order, one step apart.
        classes: at least 0.

    Returns:
        A share in [0, 1]; NaN when nothing was counted.

    Raises:
        InputError: a negative number of classes.
    """
    if classes < 0:
        raise InputError(f"the distance is a number of classes, at least 0, got {classes}")
    return sum(_by_distance(counts)[: classes + 1]) / counts.n if counts.n else float("nan")


def _by_distance(counts: ConfusionCounts) -> list[int]:
    classes = np.arange(len(counts.table))
    distance = np.abs(classes[:, None] - classes)
    images = np.zeros(len(classes), dtype=np.int64)
    np.add.at(images, distance, counts.table)
    return [int(number) for number in images]
