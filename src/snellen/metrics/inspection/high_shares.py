"""Classes in which more images have a high score than in other classes: from scores of images to suspicious classes.

A high score is one above what ``rate`` of the images of all *other* classes reach. Where poison lies under one label,
its share of high scores is far above ``rate``; a class that only differs a little is no outlier among the classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snellen.core.errors import InputError
from snellen.metrics.inspection.outliers import robust_z
from snellen.metrics.intervals import clopper_pearson

#: Fewest images of a class that is judged.
FEWEST = 20


@dataclass(frozen=True, eq=False)
class HighShare:
    """One class.

    Attributes:
        rows: int64 (n,), positions of its images.
        high: bool (n,), those above the threshold of the other classes.
        share: of them.
        low: one-sided lower bound of the share, at 1 − alpha over all classes (Bonferroni).
        z: robust z of the share among the classes.
    """

    rows: NDArray[np.int64]
    high: NDArray[np.bool_]
    share: float
    low: float
    z: float

    def stands_out(self, rate: float, outlier: float) -> bool:
        """Whether the share is surely above ``rate``, and an outlier among the classes."""
        return self.low > rate and self.z >= outlier


def high_shares(
    scores: NDArray[np.floating], labels: NDArray[np.integer], *, rate: float = 0.05, alpha: float = 0.05
) -> dict[int, HighShare]:
    """Inspect each class that has at least :data:`FEWEST` images, beside another such class.

    >>> draw = np.random.default_rng(0)
    >>> scores, labels = draw.normal(size=400), np.repeat(np.arange(4), 100)
    >>> scores[:40] += 9
    >>> [one for one, seen in high_shares(scores, labels).items() if seen.stands_out(0.05, 3.0)]
    [0]

    Args:
        scores: (n,), finite; high is suspicious.
        labels: (n,), −1 where unknown; such images are left out.
        rate: share of the other classes above the threshold.
        alpha: rate of sets in which a lower bound is too high by chance.

    Raises:
        InputError: scores and labels that do not fit, or scores that are not finite.
    """
    values, codes = np.asarray(scores, dtype=np.float64), np.asarray(labels)
    if values.ndim != 1 or codes.shape != values.shape or not np.isfinite(values).all():
        raise InputError(f"expected finite scores (n,) and labels (n,), got {values.shape} and {codes.shape}")
    members = {int(one): np.flatnonzero(codes == one) for one in np.unique(codes[codes >= 0])}
    members = {one: rows for one, rows in members.items() if len(rows) >= FEWEST}
    if len(members) < 2:
        return {}
    found = {}
    for one, rows in members.items():
        others = np.concatenate([other for name, other in members.items() if name != one])
        found[one] = values[rows] > np.quantile(values[others], 1 - rate)
    spreads = robust_z(np.array([high.mean() for high in found.values()]), smallest_scale=rate)
    level = 1 - 2 * alpha / len(members)
    return {
        one: HighShare(members[one], high, float(high.mean()), _low(high, level), float(z))
        for (one, high), z in zip(found.items(), spreads, strict=True)
    }


def _low(high: NDArray[np.bool_], level: float) -> float:
    return clopper_pearson(int(high.sum()), len(high), level).low


def suspicious(found: Mapping[int, HighShare], *, rate: float, outlier: float) -> tuple[int, ...]:
    """Classes that stand out, the largest share first."""
    named = [one for one, seen in found.items() if seen.stands_out(rate, outlier)]
    return tuple(sorted(named, key=lambda one: -found[one].share))
