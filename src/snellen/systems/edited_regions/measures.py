"""Figures of localisation and attribution, all of one confusion matrix over all pixels of a split.

arXiv 2511.19111: N[i, j] counts pixels of label i that were predicted as j.
IoU_c = N[c, c] / (Σ_j N[c, j] + Σ_i N[i, c] − N[c, c]). A class that no pixel of the split has is left out of means,
and is never counted as 0. The binary figures collapse the editors 1 … n to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snellen.core.errors import InputError
from snellen.metrics.discrimination import ScoreCounts
from snellen.systems.edited_regions.labels import IGNORED

#: Limits of the histogram of edited areas, shares of the image.
AREAS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)

#: Pixels by which a boundary may be off.
TOLERANCE = 3


def confusion(truth: NDArray[np.uint8], predicted: NDArray[np.uint8], classes: int) -> NDArray[np.int64]:
    """Pixels by label and prediction: int64 (classes, classes). Pixels of label 255 do not count.

    Add the matrices of all images; means of figures of single images are another measure.

    >>> confusion(np.array([[0, 1, 255]], np.uint8), np.array([[0, 0, 1]], np.uint8), 2).tolist()
    [[1, 0], [1, 0]]

    Args:
        truth: uint8, of any shape: 0 to ``classes`` − 1, or 255.
        predicted: of the same shape, 0 to ``classes`` − 1.
        classes: the editors and 1.

    Raises:
        InputError: other shapes or values.
    """
    if truth.shape != predicted.shape:
        raise InputError(f"labels {truth.shape} and predictions {predicted.shape} differ in shape")
    judged = truth != IGNORED
    rows, columns = truth[judged].astype(np.int64), predicted[judged].astype(np.int64)
    if rows.size and (int(rows.max()) >= classes or int(columns.max()) >= classes):
        raise InputError(f"labels are 0 to {classes - 1}, or {IGNORED}; got {int(max(rows.max(), columns.max()))}")
    return np.bincount(classes * rows + columns, minlength=classes**2).reshape(classes, classes)


def binary(matrix: NDArray[np.int64]) -> NDArray[np.int64]:
    """The matrix of untouched and edited: (2, 2)."""
    return np.array([[matrix[0, 0], matrix[0, 1:].sum()], [matrix[1:, 0].sum(), matrix[1:, 1:].sum()]])


def class_iou(matrix: NDArray[np.int64]) -> NDArray[np.float64]:
    """IoU of each class, float64 (classes,); NaN for a class that no pixel of the split has.

    >>> class_iou(np.array([[8, 0, 0], [1, 1, 2], [0, 0, 0]]))[:2].round(3).tolist()
    [0.889, 0.25]
    """
    hits, wanted = np.diag(matrix), matrix.sum(1)
    either = wanted + matrix.sum(0) - hits
    return np.divide(hits, either, out=np.full(len(matrix), np.nan), where=wanted > 0)


@dataclass(frozen=True)
class Localised:
    """Figures of one confusion matrix; NaN where the split has nothing to measure them on.

    Attributes:
        iou: of the edited pixels, by any editor.
        binary_miou: mean of that and the IoU of untouched pixels.
        semantic_miou: mean over the classes of the split, class 0 with them.
        editor_miou: the same without class 0.
        accuracy: share of pixels with the right label.
        attribution: among pixels that are edited and predicted as edited, those with the right editor.
        false_edits: share of untouched pixels that are predicted as edited.
        by_class: IoU of each class.
    """

    iou: float
    binary_miou: float
    semantic_miou: float
    editor_miou: float
    accuracy: float
    attribution: float
    false_edits: float
    by_class: tuple[float, ...]


def localised(matrix: NDArray[np.int64]) -> Localised:
    """All figures of a confusion matrix (classes, classes), int64."""
    each, two = class_iou(matrix), class_iou(binary(matrix))
    return Localised(
        iou=float(two[1]),
        binary_miou=_mean(two),
        semantic_miou=_mean(each),
        editor_miou=_mean(each[1:]),
        accuracy=_share(int(np.trace(matrix)), int(matrix.sum())),
        attribution=_share(int(np.trace(matrix[1:, 1:])), int(matrix[1:, 1:].sum())),
        false_edits=_share(int(matrix[0, 1:].sum()), int(matrix[0].sum())),
        by_class=tuple(each.tolist()),
    )


def _mean(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _share(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _edge(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Pixels of a mask with a pixel beside them, at a side, that is not in it; the frame of the image is no edge."""
    padded = np.pad(mask, 1, mode="edge")
    inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    found: NDArray[np.bool_] = mask & ~inner
    return found


def _wide(mask: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    """A mask and all within a Euclidean distance of it."""
    padded, found = np.pad(mask, pixels), np.zeros_like(mask)
    for down in range(-pixels, pixels + 1):
        for right in range(-pixels, pixels + 1):
            if down**2 + right**2 <= pixels**2:
                rows, columns = pixels + down, pixels + right
                found |= padded[rows : rows + mask.shape[0], columns : columns + mask.shape[1]]
    return found


def boundary_counts(
    truth: NDArray[np.uint8], predicted: NDArray[np.uint8], *, tolerance: int = TOLERANCE
) -> NDArray[np.int64]:
    """Of one image: edge pixels of the truth, of them near a predicted edge, and the same two of the prediction: (4,).

    Add those of all images, and give the sum to :func:`boundary_f`.
    """
    judged = truth != IGNORED
    true, found = _edge((truth > 0) & judged), _edge((predicted > 0) & judged)
    near_found, near_true = _wide(found, tolerance), _wide(true, tolerance)
    return np.array([true.sum(), (true & near_found).sum(), found.sum(), (found & near_true).sum()], dtype=np.int64)


def boundary_f(counts: NDArray[np.int64]) -> float:
    """F of the edges: twice precision times recall over their sum; NaN where there is no true edge.

    >>> boundary_f(np.array([4, 2, 2, 2]))
    0.666...
    """
    edges, recalled, predicted, precise = (int(one) for one in counts)
    if not edges:
        return float("nan")
    recall, precision = recalled / edges, precise / predicted if predicted else 0.0
    return 2 * precision * recall / (precision + recall) if recalled and precise else 0.0


def area_histogram(areas: Sequence[float], limits: Sequence[float] = AREAS) -> dict[str, int]:
    """How many edits have which share of the image; a limit belongs to the bin below it.

    >>> area_histogram([0.005, 0.03, 0.04])["0.02 to 0.05"]
    2
    """
    places = np.searchsorted(limits, np.asarray(areas, dtype=np.float64), side="left")
    counted = np.bincount(np.clip(places, 1, len(limits) - 1), minlength=len(limits))
    return {f"{limits[at]:g} to {limits[at + 1]:g}": int(counted[at + 1]) for at in range(len(limits) - 1)}


def area_recall(pairs: Sequence[tuple[float, float]], limits: Sequence[float] = AREAS) -> dict[str, float]:
    """Mean share of an edit that was found, by its area; bins without edits are left out. Pairs: area, found share.

    >>> area_recall([(0.03, 0.5), (0.04, 1.0)])
    {'0.02 to 0.05': 0.75}
    """
    bins: dict[int, list[float]] = {}
    for area, found in pairs:
        at = int(np.clip(np.searchsorted(limits, area, side="left"), 1, len(limits) - 1))
        bins.setdefault(at, []).append(found)
    return {f"{limits[at - 1]:g} to {limits[at]:g}": float(np.mean(bins[at])) for at in sorted(bins)}


def best_threshold(scores: NDArray[np.float64], edited: NDArray[np.bool_]) -> float:
    """The score from which on images are called edited, chosen on validation images: the highest balanced accuracy.

    Of equal ones the highest threshold; infinity where none is better than to call nothing edited.

    >>> best_threshold(np.array([0.0, 0.1, 0.5]), np.array([False, False, True]))
    0.5

    Raises:
        InputError: validation images of one kind alone.
    """
    if edited.all() or not edited.any():
        raise InputError(
            f"a threshold needs untouched and edited validation images; got {int(edited.sum())} edited of {len(edited)}"
        )
    return ScoreCounts.of(edited, scores).youden_threshold
