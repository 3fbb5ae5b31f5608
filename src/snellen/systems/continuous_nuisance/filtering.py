"""Which generated images still show their class: four scores vote, and a trajectory is kept as a whole or not at all.

The published filter keeps an image when at least two of four scores exceed their thresholds, and a trajectory when all
its images are kept. Thresholds were set so that each of them alone removes 90 % of the images that people saw to be out
of their class. A score that is no number rejects the trajectory with that reason, and is never a failure of a model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snellen.core.errors import InputError, unknown_name

#: Of a text–image model: the image beside the words of its class, and of its class under the shift. Beside the image of
#: strength 0, in the vectors of that model and of a second encoder.
SCORES = ("class", "class and shift", "reference", "second reference")

#: How many scores must exceed their thresholds.
NEEDED = 2

#: For CLIP ViT-B/16 (class scores: 100 · cosine) and, with ``quirk``, DINOv2 ViT-L/14 with registers.
PUBLISHED_THRESHOLDS: Mapping[str, float] = {
    "class": 28.7394449,
    "class and shift": 35.2928484,
    "reference": 0.805859378,
    "second reference": 0.781161878,
}

#: Score by name → values (n, strengths).
Scores = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True, eq=False)
class Kept:
    """What a filter keeps.

    Attributes:
        images: bool (n, strengths).
        trajectories: bool (n,).
        reasons: for each trajectory why it was rejected, else None.
    """

    images: NDArray[np.bool_]
    trajectories: NDArray[np.bool_]
    reasons: tuple[str | None, ...]


def votes(scores: Scores, thresholds: Mapping[str, float]) -> NDArray[np.int64]:
    """How many scores of each image exceed their thresholds, strictly: int (n, strengths).

    >>> votes({"class": np.array([[0.5, 0.2]]), "reference": np.array([[1.0, 0.9]])}, {"class": 0.2, "reference": 0.8})
    array([[2, 1]])

    Raises:
        InputError: no scores, scores of different shapes, or one without a threshold.
    """
    shapes = {name: np.shape(values) for name, values in scores.items()}
    if not scores or len(set(shapes.values())) != 1 or any(len(shape) != 2 for shape in shapes.values()):
        raise InputError(f"scores are values (trajectories, strengths) of one shape; got {shapes}")
    for name in scores:
        if name not in thresholds:
            raise unknown_name("score with a threshold", name, thresholds)
    over = [np.asarray(values) > thresholds[name] for name, values in scores.items()]
    counted: NDArray[np.int64] = np.sum(over, axis=0, dtype=np.int64)
    return counted


def keep(scores: Scores, thresholds: Mapping[str, float], *, strengths: Sequence[float], needed: int = NEEDED) -> Kept:
    """Keep images by votes, and trajectories all of whose images are kept.

    >>> scores = {"a": np.array([[1.0, 1.0], [1.0, 0.0]]), "b": np.array([[1.0, 1.0], [1.0, 1.0]])}
    >>> keep(scores, {"a": 0.5, "b": 0.5}, strengths=(0, 1)).reasons
    (None, 'at strength 1, 1 of 2 scores exceeds its threshold, and 2 must')

    Args:
        scores: by name, (n, strengths).
        thresholds: by the same names.
        strengths: of the columns.
        needed: scores that must exceed their thresholds.

    Raises:
        InputError: what :func:`votes` refuses; another number of strengths; more scores needed than there are.
    """
    counted = votes(scores, thresholds)
    if counted.shape[1] != len(strengths):
        raise InputError(f"scores of {counted.shape[1]} strengths came with {len(strengths)} strengths")
    if not 1 <= needed <= len(scores):
        raise InputError(f"of {len(scores)} scores, 1 to {len(scores)} can be needed; got {needed}")
    finite = np.all([np.isfinite(values) for values in scores.values()], axis=0)
    images = (counted >= needed) & finite
    reasons = tuple(
        _reason(row, scores, counted, images, strengths, needed) if not images[row].all() else None
        for row in range(len(images))
    )
    return Kept(images, images.all(1), reasons)


def threshold_removing(scores: ArrayLike, share: float = 0.9) -> float:
    """The lowest threshold that at least a share of these scores, those of images out of their class, do not exceed.

    >>> threshold_removing([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 0.9)
    9.0

    Raises:
        InputError: no scores, scores that are not finite, or a share outside (0, 1].
    """
    values = _labelled(scores, share, "out of their class")
    # Rounded first: 0.9 · 10 is a little more than 9.
    return float(values[math.ceil(round(share * len(values), 9)) - 1])


def threshold_keeping(scores: ArrayLike, share: float) -> float:
    """The highest threshold that at least a share of these scores, those of images of their class, exceed.

    >>> threshold_keeping([1, 2, 3, 4], 0.75) < 2, threshold_keeping([1, 2, 3, 4], 0.75) > 1.99
    (True, True)

    Raises:
        InputError: no scores, scores that are not finite, or a share outside (0, 1].
    """
    values = _labelled(scores, share, "of their class")
    least = values[len(values) - math.ceil(round(share * len(values), 9))]
    return float(np.nextafter(least, -np.inf))


def calibrated(scores: Scores, in_class: ArrayLike, share: float = 0.9) -> dict[str, float]:
    """Thresholds that each remove a share of the images that are out of their class, as published.

    Args:
        scores: of labelled images, by name, (n, strengths).
        in_class: bool (n, strengths): whether somebody sees the class.
        share: to remove.

    Raises:
        InputError: no image out of its class, or scores that are not finite.
    """
    right = np.asarray(in_class, dtype=bool)
    return {name: threshold_removing(np.asarray(values)[~right], share) for name, values in scores.items()}


def rates(kept: ArrayLike, in_class: ArrayLike) -> dict[str, float]:
    """How well a filter does on labelled images, each (n, ...).

    Returns:
        ``true_positives``, the share of images of their class that are kept; ``false_positives``, of those out of it;
        ``precision``, the share of kept ones that are of it. 0 where there is none to take a share of.
    """
    chosen, right = np.asarray(kept, dtype=bool).ravel(), np.asarray(in_class, dtype=bool).ravel()

    def share(of: NDArray[np.bool_], among: NDArray[np.bool_]) -> float:
        return float((of & among).sum() / among.sum()) if among.any() else 0.0

    return {
        "true_positives": share(chosen, right),
        "false_positives": share(chosen, ~right),
        "precision": share(right, chosen),
    }


def _reason(
    row: int,
    scores: Scores,
    counted: NDArray[np.int64],
    images: NDArray[np.bool_],
    strengths: Sequence[float],
    needed: int,
) -> str:
    column = int(np.flatnonzero(~images[row])[0])
    at = f"at strength {strengths[column]:g}"
    broken = [name for name, values in scores.items() if not math.isfinite(values[row, column])]
    if broken:
        return f"{at}, the score {broken[0]!r} is not a finite number"
    many = int(counted[row, column])
    return (
        f"{at}, {many} of {len(scores)} scores {'exceeds its threshold' if many == 1 else 'exceed their thresholds'}"
        + (f", and {needed} must")
    )


def _labelled(scores: ArrayLike, share: float, what: str) -> NDArray[np.float64]:
    values = np.sort(np.asarray(scores, dtype=np.float64).ravel())
    if not len(values) or not np.isfinite(values).all():
        raise InputError(f"a threshold needs finite scores of images {what}; got {len(values)} scores")
    if not 0 < share <= 1:
        raise InputError(f"a share lies in (0, 1]; got {share}")
    return values
