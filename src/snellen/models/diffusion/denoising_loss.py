"""What a diffusion network is trained on: noisy images, the prediction that is right for them, and at which times.

Ho et al. 2020 (eq. 14) for noise, Salimans and Ho 2022 (appendix D) for velocities. Times are stratified over a batch
(Kingma et al. 2021, section I.1): of n examples, one lies in each n-th of the times, which lowers the variance of the
gradient without changing its mean.
"""

from __future__ import annotations

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.models.diffusion.parametrisation import Prediction


def stratified_timesteps(count: int, steps: int, offset: Tensor) -> Tensor:
    """Times of a batch, spread evenly over all.

    >>> stratified_timesteps(4, 1000, torch.tensor(0.875)).tolist()
    [875, 125, 375, 625]

    Args:
        count: n, examples of the batch.
        steps: number of times.
        offset: where the first one lies, in [0, 1), float ().

    Returns:
        int64 (n,) in [0, steps).
    """
    places = (offset + torch.arange(count, device=offset.device) / count) % 1.0
    return (places * steps).long().clamp_(max=steps - 1)


def add_noise(clean: Tensor, noise: Tensor, alphas_cumprod: Tensor, timesteps: Tensor) -> Tensor:
    """Noisy images x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε, like ``clean`` (n, …).

    >>> add_noise(torch.ones(1, 1), torch.zeros(1, 1), torch.tensor([0.25]), torch.tensor([0]))
    tensor([[0.5000]])
    """
    alpha, sigma = _levels(clean, alphas_cumprod, timesteps)
    return alpha * clean + sigma * noise


def training_target(
    kind: Prediction, clean: Tensor, noise: Tensor, alphas_cumprod: Tensor, timesteps: Tensor
) -> Tensor:
    """What the network should predict of :func:`add_noise`'s images, (n, …).

    Raises:
        InputError: a kind that is not known.
    """
    if kind == "epsilon":
        return noise
    if kind == "sample":
        return clean
    if kind != "v_prediction":
        raise InputError(f"prediction type {kind!r} is not one of epsilon, v_prediction, sample")
    alpha, sigma = _levels(clean, alphas_cumprod, timesteps)
    return alpha * noise - sigma * clean


def squared_errors(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared error of each example, (n,)."""
    return (prediction.float() - target.float()).square().flatten(1).mean(1)


def _levels(clean: Tensor, alphas_cumprod: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
    kept = alphas_cumprod.to(clean.device)[timesteps].view(-1, *(1,) * (clean.ndim - 1)).to(clean.dtype)
    return kept.sqrt(), (1 - kept).sqrt()
