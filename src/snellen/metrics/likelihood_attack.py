"""A membership attack by the likelihood ratio of shadow models that were and were not trained on an image (LiRA).

Carlini, Chien, Nasr, Song, Terzis and Tramèr, "Membership Inference Attacks From First Principles", S&P 2022, arXiv
2112.03570, algorithm 1: for each image a normal distribution of the certainty of shadow models that saw it, and one of
those that did not; the attack is the ratio of their densities at the certainty of the attacked network.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snellen.core.errors import InputError

#: Smallest standard deviation of certainty: shadow models that agree to the last digit know no more than this.
SMALLEST = 1e-3


def likelihood_ratios(attacked: ArrayLike, shadows: ArrayLike, inside: ArrayLike) -> NDArray[np.float64]:
    """Log density ratio of "trained on this image" to "not trained on it", (n,); higher: rather a member.

    The two means are those of each image. The two standard deviations are pooled over all images, as the paper does
    with few shadow models (section VI-B, "global variance").

    >>> shadows, inside = [[5, 1], [6, 2], [1, 5], [2, 6]], [[1, 0], [1, 0], [0, 1], [0, 1]]
    >>> likelihood_ratios([5.0, 2.0], shadows, inside).round(1).tolist()
    [12.0, -12.0]

    Args:
        attacked: certainty of the attacked network about each image (n,), see
            :func:`snellen.metrics.membership_area.certainty`.
        shadows: that of each shadow model, (s, n).
        inside: whether a shadow model was trained on the image, bool (s, n).

    Raises:
        InputError: wrong shapes or values, or an image that fewer than two shadow models saw, or did not see.
    """
    found, known, seen = (np.asarray(one) for one in (attacked, shadows, inside))
    found, known, seen = found.astype(np.float64), known.astype(np.float64), seen.astype(np.bool_)
    if known.ndim != 2 or known.shape != seen.shape or found.shape != known.shape[1:]:
        raise InputError(f"expected (n,), (s, n) and (s, n), got {found.shape}, {known.shape} and {seen.shape}")
    if not np.isfinite(found).all() or not np.isfinite(known).all():
        raise InputError("certainties of an attack must be finite")
    fewest = int(min(seen.sum(0).min(), (~seen).sum(0).min())) if seen.size else 0
    if fewest < 2:
        raise InputError(
            f"every image needs two shadow models or more that saw it, and two that did not; one has {fewest}"
        )
    return _log_density(found, known, seen) - _log_density(found, known, ~seen)


def _log_density(
    found: NDArray[np.float64], known: NDArray[np.float64], chosen: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Normal density of each image's certainty among the chosen shadow models, up to a constant."""
    counts = chosen.sum(0)
    means = np.where(chosen, known, 0).sum(0) / counts
    squares = (np.where(chosen, known - means, 0) ** 2).sum(0)
    deviation = max(float(np.sqrt(squares.sum() / (counts - 1).sum())), SMALLEST)
    density: NDArray[np.float64] = -(((found - means) / deviation) ** 2) / 2 - np.log(deviation)
    return density
