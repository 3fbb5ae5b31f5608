"""Diversity within classes: how far images of one class lie from each other, in some space of features.

The mean distance of pairs within a class (with LPIPS as the distance: Ojha et al., *Few-shot Image Generation via
Cross-domain Correspondence*, CVPR 2021, section 4.2). Unlike an effective number of images (the Vendi score, Friedman
and Dieng 2023) or a recall, it does not depend on how many images there are, so that sets of which a judge accepts
different numbers can be compared.
"""

from __future__ import annotations

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.metrics.neighbourhoods import TOGETHER, distances


def within_class_distance(features: Tensor, classes: Tensor) -> float:
    """Mean over the classes of the mean Euclidean distance of two different images of the class.

    >>> within_class_distance(torch.tensor([[0.0], [2.0], [5.0], [5.0]]), torch.tensor([0, 0, 1, 1]))
    1.0

    Args:
        features: (n, d).
        classes: of each image, int64 (n,). Classes with one image have no pair and do not count.

    Raises:
        InputError: other shapes, features that are not finite, or no class with two images.
    """
    if features.ndim != 2 or classes.shape != (len(features),):
        raise InputError(
            f"a diversity takes features (n, d) and classes (n,); got {tuple(features.shape)} and "
            f"{tuple(classes.shape)}"
        )
    if not bool(features.isfinite().all()):
        raise InputError("a diversity takes finite features")
    means = []
    for index in classes.unique().tolist():
        rows = features[classes == index]
        if len(rows) > 1:
            total = sum(float(distances(part, rows).sum()) for part in rows.split(TOGETHER))
            means.append(total / (len(rows) * (len(rows) - 1)))
    if not means:
        raise InputError("no class has two images, so there is no pair whose distance could be taken")
    return float(torch.tensor(means, dtype=torch.float64).mean())
