"""Whether estimates draw the classifier's eye as the true images do: distances of Grad-CAM maps (IAA).

Gong et al. (ICLR 2022), section 3. The exact definition was not at hand: here maps are normalised to length 1, and the
distance is the squared length of their difference, from 0 to 2; maps without any evidence are all zero.
"""

from __future__ import annotations

import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.methods.explanations.grad_cam import grad_cam


def attention_figures(
    victim: Classifier, estimate: Tensor, clean: Tensor, adversarial: Tensor, *, layer: str | None = None
) -> dict[str, Tensor]:
    """Distances of maps of every pair, (n,) each.

    ``iaa_benign``: between I(x_RED, c) and I(x, c); ``iaa_adversarial``: between I(x + x' − x_RED, c) and I(x', c);
    means over c, the decisions about x and about x'. Estimates are cut to [0, 1] here.

    Args:
        victim: a torch module with layers that give maps.
        estimate: x_RED, (n, 3, h, w).
        clean: x.
        adversarial: x'.
        layer: see :func:`snellen.methods.explanations.grad_cam.grad_cam`.

    Raises:
        InputError: different shapes.
    """
    if not estimate.shape == clean.shape == adversarial.shape:
        raise InputError("estimate, clean and adversarial images have one shape")
    with torch.no_grad():
        classes = (victim(clean).argmax(1), victim(adversarial).argmax(1))
    pasted = (clean + adversarial - estimate).clamp(0, 1)
    pairs = {"iaa_benign": (estimate.clamp(0, 1), clean), "iaa_adversarial": (pasted, adversarial)}

    def apart(one: Tensor, other: Tensor, target: Tensor) -> Tensor:
        return (_map(victim, one, target, layer) - _map(victim, other, target, layer)).square().sum(1)

    return {
        name: torch.stack([apart(one, other, target) for target in classes]).mean(0)
        for name, (one, other) in pairs.items()
    }


def _map(victim: Classifier, images: Tensor, targets: Tensor, layer: str | None) -> Tensor:
    """Maps of length 1, (n, h · w)."""
    maps = grad_cam(victim, images, targets, layer=layer).maps.flatten(1)
    return maps / torch.linalg.vector_norm(maps, dim=1, keepdim=True).clamp(min=1e-12)
