"""The theorem as a test bed: one function in two bases.

f(x) = ⟨w, φ(x)⟩ and its copy f̃ with φ̃ = M φ and w̃ = M⁻ᵀ w are the same function for any invertible M. A change of x
has the same effect on both. The best change of φ of length ρ, −ρ s w / ‖w‖, moves f by −ρ ‖w‖ and f̃ by
−ρ ⟨M⁻ᵀw, w⟩ / ‖w‖: for a uniformly random rotation the ratio is a cosine of mean 0 and variance 1/d. Mapped by M, the
change has its full effect again. With several classes, w is the gradient of the margin, w_y − w_j.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from snellen.metrics.alignment import random_orthogonal

DIMENSIONS = (8, 64, 512)
CLASSES = 4


def effect_ratios(size: int, *, rotations: int, weights: int, generator: torch.Generator) -> Tensor:
    """Effect on the rotated copy over the effect on the source, of the best change for the source.

    Args:
        size: width d of the representation.
        rotations: random rotations M.
        weights: pairs of class weights, each in every rotation.
        generator: of all draws.

    Returns:
        float64 (rotations · weights,).
    """
    ratios = []
    for _ in range(rotations):
        rotation = random_orthogonal(size, generator)
        classes = torch.randn(2, weights, size, generator=generator, dtype=torch.float64)
        margins = classes[0] - classes[1]
        change = -margins / margins.norm(dim=1, keepdim=True)
        # M⁻ᵀ = M for a rotation; rows.
        copied = margins @ rotation.T
        ratios.append((copied * change).sum(1) / (margins * change).sum(1))
    return torch.cat(ratios)


def exactness(size: int, *, examples: int = 50, generator: torch.Generator) -> tuple[float, float]:
    """How exact the two exact statements are, for an invertible M that is no rotation.

    Returns:
        The largest difference of the scores of the two copies on changed inputs, relative to the largest score; and the
        largest difference from 1 of the effect ratio of changes that were mapped by M.
    """
    inner = torch.randn(20, size, generator=generator, dtype=torch.float64)
    weights = torch.randn(CLASSES, size, generator=generator, dtype=torch.float64)
    # Singular values from 1/2 to 2: far from orthogonal, and well conditioned.
    stretch = torch.diag(torch.linspace(0.5, 2, size, dtype=torch.float64))
    matrix = random_orthogonal(size, generator) @ stretch @ random_orthogonal(size, generator)
    copied = weights @ torch.linalg.inv(matrix)
    changed = torch.randn(examples, 20, generator=generator, dtype=torch.float64)
    features = (changed @ inner).tanh()
    scores, again = features @ weights.T, (features @ matrix.T) @ copied.T
    difference = float((scores - again).abs().max() / scores.abs().max())
    margin, copied_margin = weights[0] - weights[1], copied[0] - copied[1]
    change = -margin / margin.norm()
    return difference, abs(float((copied_margin @ (matrix @ change)) / (margin @ change)) - 1)


def theory_figures(seed: int, *, dimensions: tuple[int, ...] = DIMENSIONS, draws: int = 4000) -> Mapping[str, float]:
    """Mean and standard deviation of the effect ratio by dimension, in the units of the theorem.

    Returns:
        ``theory.D.mean`` and ``theory.D.deviation`` (times √d, so that 1 is the theorem's); the largest
        ``theory.worst_deviation`` from 1 and ``theory.worst_mean`` in Monte-Carlo standard errors; and the largest
        errors of the exact statements.
    """
    generator, figures = torch.Generator().manual_seed(seed), dict[str, float]()
    deviations, means, differences, mapped = [], [], [], []
    for size in dimensions:
        rotations = max(2, min(draws, 8000 // size))
        ratios = effect_ratios(size, rotations=rotations, weights=math.ceil(draws / rotations), generator=generator)
        figures[f"theory.{size}.mean"] = float(ratios.mean())
        figures[f"theory.{size}.deviation"] = float(ratios.std()) * size**0.5
        means.append(abs(float(ratios.mean())) * (len(ratios) * size) ** 0.5)
        deviations.append(abs(figures[f"theory.{size}.deviation"] - 1))
        difference, error = exactness(size, generator=generator)
        differences.append(difference)
        mapped.append(error)
    return {
        **figures,
        "theory.worst_deviation": max(deviations),
        "theory.worst_mean": max(means),
        "theory.data_difference": max(differences),
        "theory.mapped_error": max(mapped),
    }
