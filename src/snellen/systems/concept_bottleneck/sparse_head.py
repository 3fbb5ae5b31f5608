"""A head that uses few concepts: weights of whole concepts are driven to zero, the rest is fitted again.

The elastic net of PCBM (Yuksekgonul et al., ICLR 2023, arXiv 2205.15480) with the lasso taken over the weights of a
concept in all classes together, so that a concept is in or out: mean cross-entropy + strength · (share Σ_i ‖W_·i‖ +
(1 − share) / 2 ‖W‖²), by accelerated proximal gradient steps (FISTA) on all images at once.
"""

from __future__ import annotations

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.systems.concept_bottleneck.linear_head import check_examples, standard_of

#: Strengths are searched between the one that leaves no concept and this share of it.
_WEAKEST = 1e-4

#: Of FISTA, at each strength.
_STEPS = 200


def few_concepts(
    scores: Tensor, labels: Tensor, class_count: int, keep: int, *, lasso_share: float = 0.99, looks: int = 25
) -> tuple[int, ...]:
    """The concepts that an elastic net keeps longest: at most ``keep`` of them, as many as it gives below that.

    Args:
        scores: of the training images (n, N).
        labels: (n,).
        class_count: k.
        keep: most concepts, in [1, N].
        lasso_share: share of the penalty that drives weights to zero.
        looks: strengths that are tried.

    Returns:
        Their places, in order; at least one.

    Raises:
        InputError: what a head refuses, or a number of concepts out of range.
    """
    check_examples(scores, labels, class_count)
    count = scores.shape[1]
    if not 1 <= keep <= count:
        raise InputError(f"of {count} concepts, 1 to {count} can be kept; got {keep}")
    if keep == count:
        return tuple(range(count))
    mean, deviation = standard_of(scores)
    standard, hot = (scores.double() - mean) / deviation, torch.eye(class_count, dtype=torch.float64)[labels]
    # At weights of zero the best bias gives each class its share, and the gradient of a concept bounds the strength.
    gradient = (hot.mean(0) - hot).T @ standard / len(labels)
    largest = float(gradient.norm(dim=0).max()) / lasso_share
    high, low = 0.0, torch.log(torch.tensor(_WEAKEST)).item()
    best: Tensor = gradient.norm(dim=0).topk(1).indices
    weight = torch.zeros(class_count, count, dtype=torch.float64)
    for _ in range(looks):
        middle = (high + low) / 2
        weight = _elastic_net(standard, hot, largest * float(torch.tensor(middle).exp()), lasso_share, weight)
        chosen = weight.norm(dim=0).nonzero().flatten()
        if len(chosen) > keep:
            low = middle
            continue
        high = middle
        if len(chosen) > 0:
            best = chosen
        if len(chosen) == keep:
            break
    return tuple(best.sort().values.tolist())


def _elastic_net(standard: Tensor, hot: Tensor, strength: float, share: float, start: Tensor) -> Tensor:
    """Weights (k, N) at a strength, from ``start``."""
    n = len(standard)
    # The softmax cross-entropy has a Hessian of at most half of that of squares.
    bound = float(torch.linalg.matrix_norm(standard.T @ standard / n, 2)) / 2 + strength * (1 - share)
    rate = 1 / max(bound, 1e-12)
    weight, ahead = start.clone(), start.clone()
    bias = hot.mean(0).clamp_min(1e-12).log()
    momentum = 1.0
    for _ in range(_STEPS):
        error = (standard @ ahead.T + bias).softmax(1) - hot
        bias = bias - error.mean(0)
        step = ahead - rate * (error.T @ standard / n + strength * (1 - share) * ahead)
        norms = step.norm(dim=0)
        after = step * (1 - rate * strength * share / norms.clamp_min(1e-12)).clamp_min(0)
        next_momentum = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = after + (momentum - 1) / next_momentum * (after - weight)
        weight, momentum = after, next_momentum
    return weight
