"""A small set of concepts near the directions that a linear network would choose for itself.

Yan et al., "Learning Concise and Descriptive Attributes for Visual Recognition" (LM4CV, ICCV 2023, arXiv 2308.03685):
a network x → W1 x → W2, without anything between but a normalisation of each direction's activations,
learns k directions W1 on image vectors; a term |(mean_j m(W1_j / ‖W1_j‖) − d̄) / d̄^p| keeps them as far from the
middle of the concepts as concepts are, with m(e) = (e − μ)ᵀ Σ⁺ (e − μ) the squared Mahalanobis distance and d̄ its mean
over concepts. Each direction then takes the nearest concept that is free. A head is fitted to the chosen scores anew.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.systems.concept_bottleneck.linear_head import check_examples, standard_of


def mahalanobis(vectors: Tensor, mean: Tensor, inverse: Tensor) -> Tensor:
    """Squared distance of each vector: (m, d), (d,), (d, d) → (m,).

    >>> mahalanobis(torch.tensor([[2.0, 0.0]]), torch.zeros(2), torch.eye(2))
    tensor([4.])
    """
    away = vectors - mean
    return torch.einsum("md,de,me->m", away, inverse, away)


def concept_spread(concepts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of concept vectors (N, d): mean (d,), pseudo-inverse of the covariance (d, d), mean squared distance (); float64.

    Fewer concepts than numbers leave the covariance singular, which has no inverse and a pseudo-inverse.
    """
    wide = F.normalize(concepts.double(), dim=1)
    mean = wide.mean(0)
    away = wide - mean
    inverse = torch.linalg.pinv(away.T @ away / max(len(wide) - 1, 1), hermitian=True, rtol=1e-6)
    return mean, inverse, mahalanobis(wide, mean, inverse).mean()


def nearest_unused(directions: Tensor, concepts: Tensor) -> tuple[int, ...]:
    """For each direction in turn, the nearest concept (L2, both of length one) that none before it took.

    >>> nearest_unused(torch.tensor([[1.0, 0.0], [1.0, 0.1]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    (0, 1)
    """
    distances = torch.cdist(F.normalize(directions, dim=1), F.normalize(concepts, dim=1))
    taken: list[int] = []
    for row in distances:
        free = row.clone()
        free[taken] = torch.inf
        taken.append(int(free.argmin()))
    return tuple(taken)


def learned_selection(
    vectors: Tensor,
    labels: Tensor,
    class_count: int,
    concepts: Tensor,
    keep: int,
    *,
    rng: Randomness,
    division_power: int = 2,
    steps: int = 300,
    learning_rate: float = 0.01,
) -> tuple[int, ...]:
    """Choose ``keep`` concepts by directions that are learned on image vectors.

    Args:
        vectors: of the training images (n, d).
        labels: (n,).
        class_count: K.
        concepts: vectors (N, d).
        keep: k, in [1, N].
        rng: of the first directions.
        division_power: p.
        steps: of Adam, each on all images.
        learning_rate: of Adam.

    Returns:
        Places of the chosen concepts, in the order of the directions that took them.

    Raises:
        InputError: what a head refuses, or a number of concepts out of range.
    """
    check_examples(vectors, labels, class_count)
    if not 1 <= keep <= len(concepts):
        raise InputError(f"of {len(concepts)} concepts, 1 to {len(concepts)} can be kept; got {keep}")
    mean, inverse, spread = concept_spread(concepts)
    seen = F.normalize(vectors.double(), dim=1)
    generator = rng.generator("directions")
    first = torch.randn(keep, vectors.shape[1], generator=generator, dtype=torch.float64) / vectors.shape[1] ** 0.5
    second = torch.randn(class_count, keep, generator=generator, dtype=torch.float64) / keep**0.5
    with torch.enable_grad():
        first.requires_grad_(True)
        second.requires_grad_(True)
        optimizer = torch.optim.Adam([first, second], lr=learning_rate)
        for _ in range(steps):
            optimizer.zero_grad()
            activations = seen @ first.T
            middle, deviation = standard_of(activations.detach())
            logits = (activations - middle) / deviation @ second.T
            distance = mahalanobis(F.normalize(first, dim=1), mean, inverse).mean()
            loss = F.cross_entropy(logits, labels) + ((distance - spread) / spread**division_power).abs()
            loss.backward()
            optimizer.step()
    return nearest_unused(first.detach(), concepts.double())
