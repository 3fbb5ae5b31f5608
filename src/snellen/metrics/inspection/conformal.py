"""Images that are unlike known ones, named one by one: conformal p values of distances to neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snellen.core.errors import InputError
from snellen.metrics.clustered import clustered_difference
from snellen.metrics.exact_test import fisher_greater
from snellen.metrics.intervals import Interval
from snellen.metrics.multiplicity import benjamini_hochberg
from snellen.metrics.units import dense_codes

#: Fewest units of the known images.
FEWEST_UNITS = 50

#: The distance of an image is that to its neighbour of this rank.
NEIGHBOUR = 5

#: Share of the known units that neighbours come from, and how many images at most; the others calibrate.
NEIGHBOURS_SHARE, MOST_NEIGHBOURS = 1 / 3, 2_000

#: Share of known images beyond the distance from which on an image counts as far.
FAR = 0.05

#: Shares of the farthest images by which two sets are compared.
TAILS = (0.01, 0.05)

#: Rows of distances that are computed at a time.
BLOCK = 1_000


@dataclass(frozen=True, eq=False)
class ForeignImages:
    """Images beside known ones.

    Attributes:
        p_values: (n,), of "this image comes from the distribution of the known ones": (1 + calibrating images at least
            as far) / (1 + calibrating images).
        distances: (n,), to known images.
        named: int64, positions of images that are foreign at a false discovery rate, farthest first.
        p_value: of "no image is foreign".
        share: of the images that is far beyond what known images are, at least 0.
        interval: of it, 95 %, over units.
        calibrating: images that calibrate, one of each unit.
        rate: of wrongly named images among the named ones.
    """

    p_values: NDArray[np.float64]
    distances: NDArray[np.float64]
    named: NDArray[np.int64]
    p_value: float
    share: float
    interval: Interval
    calibrating: int
    rate: float

    @property
    def smallest_group(self) -> int:
        """How many equally foreign images it takes at least, so that they can be named among so many."""
        return int(np.ceil(len(self.p_values) / (self.rate * (self.calibrating + 1)) - 1e-9))


def foreign_images(
    known: NDArray[np.floating],
    images: NDArray[np.floating],
    *,
    known_units: NDArray[np.int64] | None = None,
    units: NDArray[np.int64] | None = None,
    rate: float = 0.05,
    seed: int = 0,
) -> ForeignImages:
    """Which images do not come from the distribution of known ones.

    A third of the known units gives neighbours, the rest calibrates: one image of each unit, drawn at random, so that
    calibrating images are independent. The score is the distance to the fifth nearest neighbour, in features that are
    standardised by the neighbours (Ramaswamy, Rastogi and Shim, SIGMOD 2000). An image of the same distribution has a p
    value of at most u with probability at most u, for any distribution and any features (Vovk, Gammerman and Shafer
    2005). The images that are named hold a false discovery rate (Bates, Candès, Lei, Romano and Sesia, "Testing for
    outliers with conformal p-values", Annals of Statistics 51, 2023, theorem 2).

    That no image is foreign at all is tested by the farthest images of both sets, which also finds many that are a
    little far; of units, one image each.

    The share compares how many images are beyond the distance that 5 % of the calibrating ones exceed. It is that of
    foreign images if each of these is beyond it, and less than theirs otherwise.

    >>> rng = np.random.default_rng(0)
    >>> images = np.concatenate([rng.normal(size=(90, 4)), np.full((10, 4), 9.0)])
    >>> found = foreign_images(rng.normal(size=(900, 4)), images)
    >>> sorted(found.named.tolist()) == list(range(90, 100)), found.p_value < 0.05
    (True, True)

    Args:
        known: (m, d), finite features.
        images: (n, d), finite.
        known_units: (m,) codes; None: each image is a unit.
        units: (n,) codes.
        rate: share of wrongly named images among those that are named, on average.
        seed: of the division of the known units.

    Raises:
        InputError: other widths, values that are not finite, no images, or fewer than :data:`FEWEST_UNITS` known units.
    """
    known, images = np.asarray(known, dtype=np.float32), np.asarray(images, dtype=np.float32)
    if known.ndim != 2 or images.ndim != 2 or known.shape[1] != images.shape[1] or not len(images):
        raise InputError(f"features of both sets are (n, d) with one d and n > 0, got {known.shape} and {images.shape}")
    if not (np.isfinite(known).all() and np.isfinite(images).all()):
        raise InputError("features must be finite")
    codes = dense_codes(known_units, len(known))
    count = int(codes.max(initial=-1)) + 1
    if count < FEWEST_UNITS:
        raise InputError(f"needs {FEWEST_UNITS} known images or units, got {count}")
    rng = np.random.default_rng(seed)
    order = rng.permutation(count)
    giving = np.isin(codes, order[: max(int(count * NEIGHBOURS_SHARE), NEIGHBOUR)])
    neighbours = known[rng.permutation(np.flatnonzero(giving))[:MOST_NEIGHBOURS]]
    rows = np.flatnonzero(~giving)
    rows = rows[_one_of_each(codes[rows], rng)]
    centre, spread = neighbours.mean(0), neighbours.std(0)
    spread = np.where(spread > 1e-6 * (np.abs(centre) + 1), spread, 1.0)

    def distances(values: NDArray[np.float32]) -> NDArray[np.float64]:
        return _distances((values - centre) / spread, (neighbours - centre) / spread)

    calibrating, far = np.sort(distances(known[rows])), distances(images)
    beyond = len(calibrating) - np.searchsorted(calibrating, far, "left")
    p_values = ((1.0 + beyond) / (1.0 + len(calibrating))).astype(np.float64)
    chosen = np.flatnonzero(benjamini_hochberg(p_values.tolist(), rate))
    border = float(np.quantile(calibrating, 1 - FAR, method="higher"))
    above = (far > border).astype(np.float64), (calibrating > border).astype(np.float64)
    own = dense_codes(units, len(images))
    gap = clustered_difference(*above, own, own.max() + 1 + np.arange(len(calibrating)), pseudo_units=1.0)
    rest = 1 - float(above[1].mean())
    share = float(above[0].mean() - above[1].mean()) / rest
    low, high = (min(max(end / rest, 0.0), 1.0) for end in gap.interval())
    share = min(max(share, 0.0), 1.0)
    return ForeignImages(
        p_values,
        far,
        chosen[np.argsort(-far[chosen], kind="stable")],
        _tail_p_value(far[_one_of_each(own, rng)], calibrating),
        share,
        Interval(min(low, share), max(high, share)),
        len(calibrating),
        rate,
    )


def _one_of_each(codes: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Position of one image of each unit, drawn at random."""
    shuffled = rng.permutation(len(codes))
    found: NDArray[np.int64] = shuffled[np.unique(codes[shuffled], return_index=True)[1]]
    return found


def _tail_p_value(distances: NDArray[np.float64], calibrating: NDArray[np.float64]) -> float:
    """Of "both sets have one distribution", against more far images in the first: (n,) and (m,), independent ones.

    Fisher's exact test of how many of the farthest images of both sets are of the first one, at two shares of farthest
    images, corrected for two (Bonferroni). Which images are the farthest does not depend on the set that they are of.
    """
    pooled = np.concatenate([distances, calibrating])
    borders = [np.quantile(pooled, 1 - share, method="higher") for share in TAILS]
    counts = [(int((distances >= one).sum()), int((calibrating >= one).sum())) for one in borders]
    found = [fisher_greater(first, len(distances), second, len(calibrating)) for first, second in counts]
    return min(len(TAILS) * min(found), 1.0)


def _distances(values: NDArray[np.float32], neighbours: NDArray[np.float32]) -> NDArray[np.float64]:
    """Of each row to its neighbour of rank :data:`NEIGHBOUR`."""
    rank = min(NEIGHBOUR, len(neighbours)) - 1
    squares = (neighbours**2).sum(1)
    found = []
    for start in range(0, len(values), BLOCK):
        part = values[start : start + BLOCK]
        gaps = (part**2).sum(1)[:, None] + squares - 2 * part @ neighbours.T
        found.append(np.partition(gaps, rank, axis=1)[:, rank])
    nearest: NDArray[np.float64] = np.sqrt(np.maximum(np.concatenate(found).astype(np.float64), 0.0))
    return nearest
