"""Cross-entropy on scores that are divided by something first, so that softmax does not saturate.

Where scores are large, softmax rounds to exactly 0 and 1 and the gradient of cross-entropy is zero or misses the label
(Carlini and Wagner, "Towards evaluating the robustness of neural networks", IEEE S&P 2017, arXiv 1608.04644, section
VIII-A: divide the scores by the temperature of the training, and attacks work again).
"""

from __future__ import annotations

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.methods.attacks.perturbation.objectives import Objective, cross_entropy


def tempered_cross_entropy(temperature: float) -> Objective:
    """Cross-entropy of scores divided by a temperature: an objective (n, k), (n,) → (n,).

    >>> scores, labels = torch.tensor([[400.0, 0.0]]), torch.tensor([0])
    >>> [round(abs(float(one(scores, labels))), 4) for one in (cross_entropy, tempered_cross_entropy(100.0))]
    [0.0, 0.0181]

    Raises:
        InputError: the temperature is not above 0.
    """
    if not 0 < temperature < torch.inf:
        raise InputError(f"a temperature is a number above 0, got {temperature}")
    return lambda scores, labels: cross_entropy(scores / temperature, labels)


def standardised_cross_entropy(scores: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of scores divided by their own standard deviation over the classes: (n, k), (n,) → (n,).

    For a model whose temperature is not known: a factor on the scores changes nothing. The divisor is held constant in
    the gradient.

    >>> scores, labels = torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([0])
    >>> torch.allclose(standardised_cross_entropy(scores, labels), standardised_cross_entropy(1000 * scores, labels))
    True
    """
    spread = scores.detach().std(1, correction=0, keepdim=True).clamp(min=torch.finfo(scores.dtype).tiny)
    return cross_entropy(scores / spread, labels)
