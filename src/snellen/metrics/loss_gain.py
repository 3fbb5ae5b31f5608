"""What a change of the training set does to a loss: the difference on the same images over the same seeds."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from snellen.core.errors import InputError
from snellen.metrics.incomplete_beta import student_t_quantile
from snellen.metrics.intervals import Interval

RESAMPLES = 2000


@dataclass(frozen=True)
class Gain:
    """What added images change in a loss: negative is better.

    Attributes:
        change: mean difference of the losses, with the added images less without.
        interval: 95 % for all comparisons together, over seeds and test images.
    """

    change: float
    interval: Interval

    @property
    def verdict(self) -> str:
        """Whether they help, at 95 % confidence."""
        return "helps" if self.interval.high < 0 else "harms" if self.interval.low > 0 else "undecided"


def gain(
    with_added: NDArray[np.float64],
    without: NDArray[np.float64],
    *,
    comparisons: int = 1,
    resamples: int = RESAMPLES,
    rng: np.random.Generator,
) -> Gain:
    """Difference of losses on the same test images over the same seeds: a bootstrap over seeds and over images.

    Deviations are widened for few seeds, by √(S/(S − 1)) and by Student's quantile over the normal one.

    >>> same = np.ones((3, 50))
    >>> gain(same, same, rng=np.random.default_rng(0)).verdict
    'undecided'

    Args:
        with_added: losses (seeds, images).
        without: losses of the same seeds and images.
        comparisons: gains that are read together, whose intervals shall all hold at 95 % (Bonferroni).
        resamples: of the bootstrap.
        rng: where they come from.

    Raises:
        InputError: other shapes, or fewer than two seeds.
    """
    if with_added.shape != without.shape or with_added.ndim != 2 or len(with_added) < 2:
        raise InputError(
            f"losses are (seeds, images), the same for both, of at least two seeds; got {with_added.shape} and "
            f"{without.shape}"
        )
    differences = with_added - without
    seeds, images = differences.shape
    # How often each seed and each image is drawn, in all resamples at once.
    rows = rng.multinomial(seeds, np.full(seeds, 1 / seeds), resamples)
    columns = rng.multinomial(images, np.full(images, 1 / images), resamples)
    drawn = ((rows @ differences) * columns).sum(axis=1) / (seeds * images)
    centre = float(differences.mean())
    tail = 0.025 / comparisons
    wider = float(student_t_quantile(1 - tail, seeds - 1)) / NormalDist().inv_cdf(1 - tail)
    wider *= (seeds / (seeds - 1)) ** 0.5
    low, high = np.quantile(centre + (drawn - centre) * wider, [tail, 1 - tail])
    return Gain(centre, Interval(float(low), float(high)))
