"""Figures of bags and of the images in them, with intervals over patients: images of one bag are not independent."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from snellen.auditing.bag_table import BagTable
from snellen.checks.check import Measured
from snellen.checks.per_image import PerImage
from snellen.metrics.auroc import auroc
from snellen.metrics.auroc_interval import macro_auroc_interval
from snellen.metrics.clustered import clustered_share


def bag_figures(bags: BagTable) -> dict[str, Measured]:
    """Area, accuracy, sensitivity and specificity over the bags of known label, by name; n counts bags.

    Of one class only, there is no area, and the figure of the other class is missing.
    """
    kept = bags.labelled
    if not kept.any():
        return {}
    found = {"accuracy": _share(bags.correct[kept], bags.units_of(kept))}
    positive, negative = kept & bags.truth, kept & ~bags.truth
    if positive.any() and negative.any():
        found = {"auroc": _area(bags.truth[kept], bags.scores[kept], bags.units_of(kept)), **found}
    if positive.any():
        found["sensitivity"] = _share(bags.correct[positive], bags.units_of(positive))
    if negative.any():
        found["specificity"] = _share(bags.correct[negative], bags.units_of(negative))
    return found


def instance_figures(bags: BagTable, known: PerImage) -> dict[str, Measured]:
    """What is known of single images, by name; n counts images, units are those of their bags.

    =========================  ========================================================================================
    ``instance_auroc``         area of the probability of the positive class over images with labels of their own
    ``positives_found``        share of the positive images that are called positive
    ``false_in_negative_bags``  share of the images of negative bags that are called positive: none of them is, whatever
                               is known of single images
    =========================  ========================================================================================
    """
    placed = bags.of_image >= 0
    units = np.where(placed, bags.unit_codes[bags.of_image], -1)
    called = known.predictions == bags.positive
    labelled = placed & known.labelled
    positive = labelled & (known.labels == bags.positive)
    found = {}
    if positive.any() and (labelled & ~positive).any():
        area = _area(positive[labelled], bags.probabilities[labelled], units[labelled])
        found["instance_auroc"] = area
    if positive.any():
        found["positives_found"] = _share(called[positive], units[positive])
    healthy = placed & (bags.labelled & ~bags.truth)[bags.of_image]
    if healthy.any():
        found["false_in_negative_bags"] = _share(called[healthy], units[healthy])
    return found


def _share(right: NDArray[np.bool_], units: NDArray[np.int64] | None) -> Measured:
    low, high = clustered_share(right, units)
    return Measured(value=float(right.mean()), low=low, high=high, n=len(right))


def _area(truth: NDArray[np.bool_], scores: NDArray[np.float64], units: NDArray[np.int64] | None) -> Measured:
    low, high = macro_auroc_interval(truth.astype(np.int64), np.stack([-scores, scores], axis=1), units)
    return Measured(value=auroc(truth, scores), low=low, high=high, n=len(truth))
