"""Mean and covariance of features that come batch by batch, and the Fréchet distance of two such sets."""

from __future__ import annotations

import torch
from torch import Tensor

from snellen.core.errors import InputError


class FeatureMoments:
    """Moments of all features so far, in float64; memory does not grow with their number.

    >>> moments = FeatureMoments()
    >>> for part in torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]]).split(3):
    ...     moments.add(part)
    >>> moments.count, moments.mean.tolist()
    (4, [1.0, 1.0])
    """

    def __init__(self) -> None:
        self.count = 0
        self._sum = torch.zeros(0, dtype=torch.float64)
        self._products = torch.zeros(0, 0, dtype=torch.float64)

    def add(self, features: Tensor) -> None:
        """Count further features in.

        Args:
            features: (n, d), finite, all of one d.

        Raises:
            InputError: another width, or numbers that are not finite.
        """
        rows = features.detach().double().cpu()
        if rows.ndim != 2 or (self.count and rows.shape[1] != len(self._sum)):
            raise InputError(f"features are (n, {len(self._sum) or 'd'}); got {tuple(features.shape)}")
        if not bool(rows.isfinite().all()):
            raise InputError("moments take finite features")
        if not self.count:
            self._sum = torch.zeros(rows.shape[1], dtype=torch.float64)
            self._products = torch.zeros(rows.shape[1], rows.shape[1], dtype=torch.float64)
        self.count += len(rows)
        self._sum += rows.sum(0)
        self._products += rows.T @ rows

    @property
    def mean(self) -> Tensor:
        """(d,)."""
        return self._sum / self.count

    @property
    def covariance(self) -> Tensor:
        """(d, d), divided by n − 1."""
        return (self._products - self.count * torch.outer(self.mean, self.mean)) / (self.count - 1)


def frechet_of_moments(first: FeatureMoments, second: FeatureMoments) -> float:
    """Squared Fréchet distance of two sets of features.

    It is :func:`snellen.metrics.generated_images.frechet_distance` of sets that are too large to be held.

    Raises:
        InputError: fewer than two features in a set, or sets of different widths.
    """
    if min(first.count, second.count) < 2 or len(first.mean) != len(second.mean):
        raise InputError(
            f"a Fréchet distance takes two features or more of one width in each set; got {first.count} and "
            f"{second.count}"
        )
    roots = [_root(one.covariance) for one in (first, second)]
    shared = torch.linalg.svdvals(roots[0] @ roots[1]).sum()
    spread = sum(root.square().sum() for root in roots) - 2 * shared
    return max(0.0, float((first.mean - second.mean).square().sum() + spread))


def _root(covariance: Tensor) -> Tensor:
    """The symmetric root of a covariance; what rounding made negative is 0."""
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors * values.clamp_min(0).sqrt()) @ vectors.T
