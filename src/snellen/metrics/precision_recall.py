"""Improved precision and recall: which share of generated images looks real, which share of real ones can be generated.

Kynkäänniemi et al., *Improved Precision and Recall Metric for Assessing Generative Models*, NeurIPS 2019, eq. 1 and 2.
Each set is taken for the union of the balls around its features that reach the k-th nearest neighbour within the set.
An outlier has a large ball: density and coverage (:mod:`snellen.metrics.coverage`) suffer less from it.
"""

from __future__ import annotations

from torch import Tensor

from snellen.metrics.neighbourhoods import check_features, in_some_neighbourhood, radii


def precision(real: Tensor, generated: Tensor, *, neighbours: int = 3) -> float:
    """Share of generated images that lie among the real ones, in [0, 1].

    >>> import torch
    >>> real = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    >>> precision(real, torch.tensor([[1.5], [9.0]]), neighbours=1)
    0.5

    Args:
        real: features (n, d), n > ``neighbours``.
        generated: features (m, d), m ≥ 1.
        neighbours: k; the paper takes 3.

    Raises:
        InputError: too few images, features of different widths, or not finite.
    """
    check_features(real, generated)
    inside = in_some_neighbourhood(generated, real, radii(real, neighbours))
    return float(inside.double().mean())


def recall(real: Tensor, generated: Tensor, *, neighbours: int = 3) -> float:
    """Share of real images that lie among the generated ones, in [0, 1]: precision with the sets exchanged.

    >>> import torch
    >>> real = torch.tensor([[0.0], [1.0], [5.0], [6.0]])
    >>> recall(real, torch.tensor([[0.0], [1.0]]), neighbours=1)
    0.5

    Args:
        real: features (n, d), n ≥ 1.
        generated: features (m, d), m > ``neighbours``.
        neighbours: k.

    Raises:
        InputError: too few images, features of different widths, or not finite.
    """
    return precision(generated, real, neighbours=neighbours)
