"""Where pixels are looked for: a mixture of one Gaussian for each feature, and draws from it.

Wicker, Huang and Kwiatkowska, TACAS 2018, section 3: P(x, y) = sum over features i of phi_i G(x; x_i, s_i)
G(y; y_i, s_i), phi_i the share of its response. Here G is the mass of the normal over a pixel, cut to the image and
scaled to sum to 1, so that the density and the draws agree exactly; the authors' code clips coordinates to the border,
which heaps mass up there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from snellen.systems.feature_guided_search.features import Features

#: A pixel itself: no Gaussian is narrower, in pixels.
_LEAST_SPREAD = 0.5
#: Rounds of drawing again what fell outside or on a taken pixel, before the exact, slower way.
_ROUNDS = 8

Places = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Salience:
    """The density of one image.

    Attributes:
        features: whose Gaussians are mixed; None is one feature that covers all pixels alike (no guidance).
        height: of the image, pixels.
        width: of the image.
        extra_spread: added to the size of each feature as the standard deviation (sigma constant of the authors' code),
            pixels.
    """

    features: Features | None
    height: int
    width: int
    extra_spread: float = 0.0

    @property
    def count(self) -> int:
        """Number of features f."""
        return 1 if self.features is None else len(self.features)

    @property
    def weights(self) -> NDArray[np.float64]:
        """Probability of each feature: (f,)."""
        return np.ones(1) if self.features is None else self.features.weights

    @cached_property
    def spreads(self) -> NDArray[np.float64]:
        """Standard deviation of each Gaussian, in pixels: (f,)."""
        if self.features is None:
            return np.full(1, np.inf)
        return np.maximum(self.features.size + self.extra_spread, _LEAST_SPREAD)

    @cached_property
    def _densities(self) -> dict[int, NDArray[np.float64]]:
        """Densities of the features that had to be drawn from exactly."""
        return {}

    def of_feature(self, feature: int) -> NDArray[np.float64]:
        """Density of one feature over the pixels, row by row: (h·w,), sums to 1."""
        if self.features is None:
            return np.full(self.height * self.width, 1 / (self.height * self.width))
        spread = float(self.spreads[feature])
        across = _masses(float(self.features.x[feature]), spread, self.width)
        down = _masses(float(self.features.y[feature]), spread, self.height)
        return np.outer(down, across).ravel()

    def density(self) -> NDArray[np.float64]:
        """The mixture over the pixels: (h, w), sums to 1."""
        mixed = sum(weight * self.of_feature(feature) for feature, weight in enumerate(self.weights))
        return np.asarray(mixed, dtype=np.float64).reshape(self.height, self.width)

    def shares(self, pixels: Places) -> NDArray[np.float64]:
        """How far each feature explains some pixels: mean over them of phi_i G_i / sum of phi_j G_j, (f,)."""
        if self.features is None or not len(pixels):
            return self.weights
        rows, columns = pixels // self.width, pixels % self.width
        spread = self.spreads[:, None]
        near = (columns - self.features.x[:, None]) ** 2 + (rows - self.features.y[:, None]) ** 2
        logarithms = np.log(self.weights)[:, None] - near / (2 * spread**2) - 2 * np.log(spread)
        explained = np.exp(logarithms - logarithms.max(0))
        mean: NDArray[np.float64] = (explained / explained.sum(0)).mean(1)
        return mean

    def draw(self, owners: Places, taken: NDArray[np.bool_], rng: np.random.Generator) -> Places:
        """Draw one free pixel for each entry, from the Gaussian of its feature; no pixel twice.

        Args:
            owners: (m,) features, in order; where two want one pixel, the earlier has it.
            taken: bool (h·w,), pixels that may not be drawn.
            rng: where chance comes from.

        Returns:
            Pixels, row by row, (m,); −1 where no free pixel was left.
        """
        pixels = np.full(len(owners), -1, dtype=np.int64)
        taken = taken.copy()
        wanting = np.arange(len(owners))
        for _ in range(_ROUNDS):
            drawn = self._thrown(owners[wanting], rng)
            fits = drawn >= 0
            fits[fits] = ~taken[drawn[fits]]
            entries, drawn = wanting[fits], drawn[fits]
            _, first = np.unique(drawn, return_index=True)
            pixels[entries[first]] = drawn[first]
            taken[drawn[first]] = True
            wanting = np.flatnonzero(pixels < 0)
            if not len(wanting):
                return pixels
        for entry in wanting:
            if taken.all():
                break
            pixel = self._exactly(int(owners[entry]), taken, rng)
            pixels[entry], taken[pixel] = pixel, True
        return pixels

    def _thrown(self, owners: Places, rng: np.random.Generator) -> Places:
        """Pixels where normals fall, −1 outside of the image."""
        if self.features is None:
            return rng.integers(0, self.height * self.width, len(owners))
        spread, thrown = self.spreads[owners], rng.standard_normal((2, len(owners)))
        columns = np.rint(self.features.x[owners] + spread * thrown[0]).astype(np.int64)
        rows = np.rint(self.features.y[owners] + spread * thrown[1]).astype(np.int64)
        inside = (columns >= 0) & (columns < self.width) & (rows >= 0) & (rows < self.height)
        return np.where(inside, rows * self.width + columns, -1)

    def _exactly(self, feature: int, taken: NDArray[np.bool_], rng: np.random.Generator) -> int:
        """One free pixel by the density over what is free; evenly where the Gaussian has no mass left there."""
        if feature not in self._densities:
            self._densities[feature] = self.of_feature(feature)
        free = np.where(taken, 0.0, self._densities[feature])
        if not free.sum() > 0:
            free = (~taken).astype(np.float64)
        # As Generator.choice draws, without its checks: the first place where the cumulated shares pass a uniform draw.
        cumulated = (free / free.sum()).cumsum()
        return int((cumulated / cumulated[-1]).searchsorted(rng.random(), side="right"))


def _masses(mean: float, spread: float, count: int) -> NDArray[np.float64]:
    """Mass of a normal over the pixels 0 … count − 1, scaled to sum to 1."""
    edges = [math.erf((edge - 0.5 - mean) / (spread * math.sqrt(2))) for edge in range(count + 1)]
    masses = np.diff(edges)
    if not masses.sum() > 0:  # too far outside for float64
        masses = np.eye(count)[min(max(round(mean), 0), count - 1)]
    scaled: NDArray[np.float64] = masses / masses.sum()
    return scaled
