"""How images come in units, such as patients, and how many independent images they are worth.

The design effect of units of m images with the correlation ρ within a unit is 1 + (m − 1) ρ (Kish, Survey Sampling,
1965).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snellen.core.errors import InputError
from snellen.metrics.incomplete_beta import student_t_quantile
from snellen.metrics.unit_jackknife import effective_units, unit_influence, unit_sums

#: Level of every one-sided test that is planned: an end of a 95 % interval.
ALPHA = 0.025


@dataclass(frozen=True)
class UnitDesign:
    """How images come in units.

    Attributes:
        size: images of a unit, on average; of unequal units Σ n² / Σ n. 1: each image is a unit.
        correlation: of right decisions within a unit, in [0, 1].

    Raises:
        InputError: a size below 1, or a correlation outside of [0, 1].
    """

    size: float = 1.0
    correlation: float = 0.0

    def __post_init__(self) -> None:
        if not 1 <= self.size < math.inf:
            raise InputError(f"a unit has 1 image or more on average, got {self.size:g}")
        if not 0 <= self.correlation <= 1:
            raise InputError(f"the correlation within a unit lies from 0 to 1, got {self.correlation:g}")

    @property
    def effect(self) -> float:
        """How many images of such units say as much as one independent image.

        >>> UnitDesign(8, 0.3).effect
        3.1
        """
        return 1 + (self.size - 1) * self.correlation

    def units(self, images: float) -> int:
        """Number of units that so many images make."""
        return math.ceil(images / self.size - 1e-9)

    def counted(self, images: float, variance: float) -> float:
        """Independent images that the audit's interval for a share counts, for a variance p (1 − p) of one image.

        The audit estimates the design effect, with one image's worth of belief that images of a unit are alike, and
        takes Student's quantile for few units.
        """
        if self.size == 1:
            return images
        units = max(images / self.size, 2.0)
        believed = max((images * variance * self.effect + self.size) / (images * variance + 1), 1.0)
        tail = 1 - ALPHA
        few = student_t_quantile(tail, max(images - 1, 1.0)) / student_t_quantile(tail, max(units - 1, 1.0))
        return images / believed * few**2


#: Every image is a unit.
INDEPENDENT = UnitDesign()


def estimated_design(values: NDArray[np.float64], codes: NDArray[np.int64] | None) -> UnitDesign:
    """The design of images that were measured.

    The correlation is (V / B − 1) / (m − 1), where V is the jackknife's variance of the mean over units, B that of
    independent images and m = Σ n² / Σ n; negative values, which are mostly chance, count as 0.

    >>> estimated_design(np.array([1.0, 1, 0, 0, 1, 1, 0, 0]), np.array([0, 0, 1, 1, 2, 2, 3, 3])).correlation
    1.0
    >>> estimated_design(np.ones(3), None)
    UnitDesign(size=1.0, correlation=0.0)

    Args:
        values: (n,), such as right decisions as 0 and 1.
        codes: (n,), unit of each; None: each image is a unit.
    """
    if codes is None:
        return INDEPENDENT
    sums, sizes = unit_sums(np.asarray(values, dtype=np.float64), codes)
    sums, sizes = sums[sizes > 0], sizes[sizes > 0]
    size = float((sizes**2).sum() / sizes.sum())
    n, mean = sizes.sum(), float(np.mean(values))
    independent = float(((values - mean) ** 2).sum()) / n / max(n - 1, 1)
    if size == 1 or len(sizes) < 2 or independent == 0:
        return UnitDesign(size, 0.0)
    # Divided by G − 1 and not by G: unit_influence is that of the jackknife, which does so.
    dependent = float((unit_influence(sums, sizes, mean) ** 2).sum())
    few = effective_units(sizes)
    correlation = (dependent / independent * (1 - 1 / few) * few / (few - 1) - 1) / (size - 1)
    return UnitDesign(size, min(max(correlation, 0.0), 1.0))
