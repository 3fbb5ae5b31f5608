"""Which images show a second class, judged by the classifier's own scores for windows of each image.

A window that shows no labelled object gets some class too, so the largest score alone shows nothing. What counts is how
strongly a class is seen in images that are called by it: another class is shown where it is seen as strongly as in most
of its own images, in a window that shares no pixel with one in which the label is seen as strongly as in most of its
own. A class is judged only where that separates its images from others (:data:`SEPARATES`): a weak classifier sees it
as strongly in backgrounds, and would find a second class anywhere. This rule is Snellen's own; the paper on label maps
(arXiv 2101.05022) names the problem, not a test for it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Images of a class that are needed to know how strongly it is seen.
FEWEST = 8

#: How far, from the share of its label among all images (0) to all of them (1), the share of its label must be among
#: the images that show a class. Two classes in every image leave it near one half of the images, chance at 0.
SEPARATES = 0.25


@dataclass(frozen=True, eq=False)
class ShownClasses:
    """What the windows of n images show.

    Attributes:
        second: class that each image shows beside its label, −1 where none, int64 (n,).
        judged: whether enough is known of the image's label to judge, bool (n,).
        weak: classes that are not judged, because they are seen as strongly in too many images of other labels.
    """

    second: NDArray[np.int64]
    judged: NDArray[np.bool_]
    weak: tuple[int, ...]


def windows(per_side: int = 3) -> NDArray[np.float64]:
    """Windows of half the height and width of an image, left, top, right, bottom as shares: (per_side², 4).

    >>> windows(2).tolist()[1]
    [0.5, 0.0, 1.0, 0.5]
    """
    starts = np.linspace(0, 0.5, per_side)
    return np.array([[left, top, left + 0.5, top + 0.5] for top in starts for left in starts])


def apart(boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which pairs of windows share no area: bool (w, w)."""
    left, top, right, bottom = boxes.T
    beside = (right[:, None] <= left[None]) | (left[:, None] >= right[None])
    return beside | (bottom[:, None] <= top[None]) | (top[:, None] >= bottom[None])


def shown_classes(
    winners: NDArray[np.int64],
    strengths: NDArray[np.float64],
    labels: NDArray[np.int64],
    boxes: NDArray[np.float64],
    *,
    typical: float = 0.5,
) -> ShownClasses:
    """Find the images that show a second class.

    Args:
        winners: class of the largest score in each window, (n, w).
        strengths: that score, (n, w).
        labels: class index of each image, (n,).
        boxes: of the windows, (w, 4).
        typical: share of a class's own images that must see it no more strongly.

    >>> boxes = windows(2)
    >>> winners = np.array([[0, 0, 0, 0]] * 8 + [[1, 1, 1, 1]] * 8 + [[0, 1, 0, 1]])
    >>> strengths = np.full((17, 4), 5.0)
    >>> shown_classes(winners, strengths, np.array([0] * 8 + [1] * 8 + [0]), boxes).second[[0, 8, 16]].tolist()
    [-1, -1, 1]
    """
    count, classes = len(labels), 1 + max(int(winners.max(initial=0)), int(labels.max(initial=0)))
    bars = np.full(classes, np.inf)
    own = winners == labels[:, None]
    strongest = np.where(own, strengths, -np.inf).max(1)
    for label in np.unique(labels):
        seen = strongest[(labels == label) & own.any(1)]
        if len(seen) >= FEWEST:
            bars[label] = np.quantile(seen, typical)
    sure = strengths >= bars[winners]
    weak = []
    for label in np.flatnonzero(np.isfinite(bars)).tolist():
        named, base = (labels == label)[(sure & (winners == label)).any(1)].mean(), (labels == label).mean()
        if named < base + SEPARATES * (1 - base):
            weak.append(label)
    bars[weak] = np.inf
    sure = strengths >= bars[winners]
    labelled, other = sure & own, sure & ~own
    # A window that shows another class counts where some window of the label lies apart from it.
    counts = other & (labelled.astype(int) @ apart(boxes).astype(int) > 0)
    excess = np.where(counts, strengths - np.where(np.isfinite(bars), bars, 0)[winners], -np.inf)
    best = excess.argmax(1)
    second = np.where(counts.any(1), winners[np.arange(count), best], -1)
    return ShownClasses(second.astype(np.int64), np.isfinite(bars[labels]), tuple(weak))
