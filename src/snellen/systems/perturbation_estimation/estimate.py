"""The estimate itself: x_RED = D(x'), δ_RED = x' − x_RED (Gong et al. 2022, section 3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from snellen.core.errors import InputError
from snellen.systems.perturbation_estimation.unbounded import in_batches


class Estimated(NamedTuple):
    """What the image was, and what was added to it, (n, 3, h, w) each; their sum is the image."""

    clean: Tensor
    perturbation: Tensor


def red(denoiser: nn.Module | Callable[[Tensor], Tensor], images: Tensor, *, clamp: bool = False) -> Estimated:
    """Estimate clean images and perturbations, without gradients.

    >>> seen = torch.full((1, 3, 2, 2), 0.5)
    >>> found = red(lambda images: images - 0.25, seen)
    >>> float(found.clean.max()), float(found.perturbation.max())
    (0.25, 0.25)

    Args:
        denoiser: images → images; a network in evaluation mode.
        images: (n, 3, h, w) in [0, 1].
        clamp: cut the estimate of the clean image to [0, 1], which changes that of the perturbation; not published.

    Raises:
        InputError: images that are not in [0, 1], or a network in training mode.
    """
    check_unit(images, "images")
    if isinstance(denoiser, nn.Module) and denoiser.training:
        raise InputError("the denoiser is in training mode: its estimate of one image would depend on the others")
    cleaned = in_batches(denoiser, images) if len(images) else images
    cleaned = cleaned.clamp(0, 1) if clamp else cleaned
    return Estimated(cleaned, images - cleaned)


def check_unit(images: Tensor, what: str) -> None:
    """Refuse what is no batch of images in [0, 1].

    Raises:
        InputError: another shape or type, NaN, or values outside.
    """
    if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
        raise InputError(f"{what} are float (n, 3, h, w); got {images.dtype} {tuple(images.shape)}")
    if not images.numel():
        return
    low, high = (float(end) for end in torch.aminmax(images.detach()))
    if not (low >= -1e-6 and high <= 1 + 1e-6):  # written so that NaN fails too
        raise InputError(f"{what} lie in [0, 1]; got values from {low:.4g} to {high:.4g}")
