"""Is a found latent still one of N(0, I)? Moments, a goodness-of-fit test, the prior's penalty, and the projection.

SAGE (Liu et al., ICLR 2024) calls the share of found latents that a test rejects the non-Gaussian rate, NGR. The test
here is that of Kolmogorov and Smirnov against N(0, 1), beside two-sided tests of the norm (‖z‖² is χ² with d degrees of
freedom) and, for maps, of products of neighbours, whose sum over the square root of their number is N(0, 1) for large
maps. Each has its part of the level, so that together they reject a draw of the prior with probability 0.05 at most
(Bonferroni).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from scipy import stats
from torch import Tensor

from snellen.core.errors import InputError

#: Level of the test, of all parts together.
LEVEL = 0.05

#: Norms of the projection lie within so many standard deviations of √d; that of a norm is about 1/√2.
DEVIATIONS = 3.0


class Normality(BaseModel):
    """How a latent lies to N(0, I).

    Attributes:
        norm: ‖z‖ / √d; 1 is expected.
        mean, std, skewness, kurtosis: moments of its numbers; 0, 1, 0 and (in excess of 3) 0 are expected.
        neighbours: mean product of neighbours in rows and columns; 0 is expected, and of vectors.
        p: of all tests together.
        rejected: p is below 0.05.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    norm: float
    mean: float
    std: float
    skewness: float
    kurtosis: float
    neighbours: float
    p: float
    rejected: bool


def normality(latent: Tensor) -> Normality:
    """Moments and tests of one latent of any shape.

    >>> drawn = torch.randn(4, 16, 16, generator=torch.Generator().manual_seed(0))
    >>> normality(drawn).rejected, normality(1.2 * drawn).rejected
    (False, True)

    Raises:
        InputError: fewer than 8 numbers, or one that is not finite.
    """
    values = latent.detach().double().flatten().cpu().numpy()
    if len(values) < 8 or not np.isfinite(values).all():
        raise InputError(f"a latent has at least 8 finite numbers; got {len(values)}")
    squares = float((values**2).sum())
    upper = float(stats.chi2.sf(squares, len(values)))
    norm_p = 2 * min(upper, 1 - upper)
    shape_p = float(stats.kstest(values, "norm").pvalue)
    products = _neighbours(latent.detach().double().cpu())
    parts = [norm_p, shape_p]
    if len(products):
        parts.append(2 * float(stats.norm.sf(abs(products.sum()) / math.sqrt(len(products)))))
    p = min(1.0, len(parts) * min(parts))
    std = float(values.std())
    return Normality(
        norm=math.sqrt(squares / len(values)),
        mean=float(values.mean()),
        std=std,
        skewness=float(stats.skew(values)) if std else 0.0,
        kurtosis=float(stats.kurtosis(values)) if std else 0.0,
        neighbours=float(products.mean()) if len(products) else 0.0,
        p=p,
        rejected=p < LEVEL,
    )


def penalty(latents: Tensor) -> Tensor:
    """R(z) = (mean²) + (std² − 1)² for each latent (n, …) → (n,): zero at the moments of the prior.

    Its numbers are averages over dimensions, so that a weight means the same for every size of latent.

    >>> float(penalty(torch.tensor([[1.0, -1.0]])))
    0.0
    """
    flat = latents.flatten(1)
    return flat.mean(1).square() + (flat.var(1, unbiased=False) - 1).square()


def _neighbours(latent: Tensor) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Products of neighbours in rows and columns of maps (c, h, w); empty of a vector."""
    if latent.ndim < 2:
        return np.zeros(0)
    rows = (latent[..., 1:] * latent[..., :-1]).flatten()
    columns = (latent[..., 1:, :] * latent[..., :-1, :]).flatten()
    return torch.cat([rows, columns]).numpy()


def project(latents: Tensor) -> Tensor:
    """Latents (n, …) scaled to a norm within √d ± 3/√2, where nearly all draws of the prior lie; the same shape.

    Mean, variance and all else are left to the penalty. So a draw of N(0, I) stays one, and the tests of
    :func:`normality`, whose null is N(0, I), hold their level after the projection too.

    >>> project(torch.full((1, 4), 5.0)).norm().item() < 4.13
    True
    """
    size, norm = latents[0].numel() ** 0.5, latents.flatten(1).norm(dim=1)
    wanted = norm.clamp(size - DEVIATIONS / 2**0.5, size + DEVIATIONS / 2**0.5)
    return latents * (wanted / norm.clamp_min(1e-12)).view(-1, *(1,) * (latents.ndim - 1))


def non_gaussian_rate(found: list[Normality]) -> float | None:
    """NGR: share of latents that the test rejects at 0.05; None of none."""
    return sum(one.rejected for one in found) / len(found) if found else None
