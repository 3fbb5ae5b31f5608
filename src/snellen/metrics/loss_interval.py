"""Interval of the mean loss of images, such as a Brier score, that stays honest where no image has been lost yet."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snellen.core.errors import InputError
from snellen.metrics.clustered import clustered_mean
from snellen.metrics.intervals import Interval
from snellen.metrics.matched_beta import matched_beta_interval
from snellen.metrics.unit_jackknife import design_effect
from snellen.metrics.units import dense_codes


def loss_interval(
    losses: ArrayLike,
    units: NDArray[np.int64] | None = None,
    *,
    large: float,
    most: float,
    confidence: float = 0.95,
) -> Interval:
    """Interval of the mean of losses in [0, most], images in units.

    :func:`snellen.metrics.matched_beta.matched_beta_interval` of the mean over ``most``, with the variance of
    :func:`snellen.metrics.clustered.clustered_mean`. One more image of a large loss is added to the variance, and for
    the upper end to the mean; it weighs the design effect of the units.

    A mean of unbounded losses has no upper bound that holds for all losses: where a loss much larger than ``large`` is
    met once in many more images than there are, the truth lies above.

    >>> [round(end, 3) for end in loss_interval([0.0] * 50, large=2.0, most=2.0)]
    [0.0, 0.207]

    Args:
        losses: (n,), n ≥ 1, in [0, most].
        units: (n,), code of the unit of each; None: every image is its own unit. A single unit gives [0, most].
        large: what a lost image costs, in (0, most]; all that the interval knows of losses that it has not seen.
        most: that no image loses more.
        confidence: in (0, 1).

    Raises:
        InputError: values out of range, or not as many units.
    """
    values = np.asarray(losses, dtype=np.float64)
    if values.ndim != 1 or not len(values) or not ((values >= 0) & (values <= most)).all() or not 0 < large <= most:
        raise InputError(
            f"expected losses (n,) in [0, {most}] and a large one in (0, {most}], got {values.shape} and {large}"
        )
    mean, codes = clustered_mean(values, units), dense_codes(units, len(values))
    if not math.isfinite(mean.standard_error):
        return Interval(0.0, most)
    weight = design_effect(np.minimum(values / large, 1.0), codes)
    added = large * weight / len(values) / most
    low, high = matched_beta_interval(
        mean.value / most,
        (mean.standard_error / most) ** 2 + added**2,
        added=added,
        degrees=mean.degrees_of_freedom,
        confidence=confidence,
    )
    return Interval(low * most, high * most)
