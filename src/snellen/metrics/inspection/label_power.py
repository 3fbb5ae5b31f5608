"""What share of wrong labels a test would have found, from the opinion that judges them."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from snellen.metrics.inspection.confident_joint import checked
from snellen.metrics.inspection.error_share import TOLERATED, expected_ratio
from snellen.metrics.inspection.label_opinions import LEAST
from snellen.metrics.temperature import fit_temperature, tempered_probabilities

#: Shares that are tried, and images that are simulated at a time.
SHARES, IMAGES = (0.01, 0.015, 0.02, 0.03, 0.04, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3, 0.4), 6000


def visible_share(
    probabilities: ArrayLike,
    labels: ArrayLike,
    *,
    tolerated: float = TOLERATED,
    level: float = 0.01,
    power: float = 0.9,
    seed: int = 0,
) -> float | None:
    """Smallest share of wrong labels that :func:`estimated_error_share` would find; None where even 40 % would not do.

    Labels are drawn from the opinion itself, at the temperature that makes the given labels most likely, and a share of
    them is replaced by any other class. The likelihood ratio of such labels, an average over about 6,000 images and
    scaled to as many as there are, is that of a typical draw; the square root of the ratio has a standard deviation of
    about 1 (Cowan, Cranmer, Gross and Vitells, "Asymptotic formulae for likelihood-based tests of new physics", EPJ C
    71, 2011, section 3).

    >>> visible_share(np.full((100, 2), 0.5), np.arange(100) % 2) is None
    True

    Args:
        probabilities: (n, k) in [0, 1], each row with sum 1.
        labels: int (n,) in 0 … k−1.
        tolerated: share that counts for nothing.
        level: the test finds where its p value is below.
        power: share of cases in which it must.
        seed: of the draws.

    Raises:
        InputError: wrong shapes or values.
    """
    sure, given = checked(probabilities, labels)
    logs = np.log(np.maximum(sure, LEAST))
    calibrated = tempered_probabilities(logs, fit_temperature(logs, given).temperature)
    n, classes = sure.shape
    rng = np.random.default_rng(seed)
    rows = rng.permutation(n)[:IMAGES] if n > IMAGES else np.tile(np.arange(n), max(IMAGES // n, 1))
    shown = sure[rows]
    clean = (calibrated[rows].cumsum(1) < rng.random((len(rows), 1))).sum(1).clip(max=classes - 1)
    drawn, other = rng.random(len(rows)), rng.integers(1, classes, len(rows))

    def found(share: float) -> bool:
        labels = np.where(drawn < share, (clean + other) % classes, clean)
        ratio = expected_ratio(shown, labels, share, tolerated=tolerated) * n / len(rows)
        normal = NormalDist()
        return bool(ratio**0.5 >= normal.inv_cdf(1 - level) + normal.inv_cdf(power))

    tried = [share for share in SHARES if share > tolerated]
    low, high = 0, len(tried)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if found(tried[middle]) else (middle + 1, high)
    return tried[low] if low < len(tried) else None
