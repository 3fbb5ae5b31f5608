"""What a diffusion network predicts (noise, image or velocity, one follows from the other), and what it is trained on.

A noisy image is x = alpha x0 + sigma eps with alpha² + sigma² = 1. The velocity is v = alpha eps − sigma x0 (Salimans
and Ho, *Progressive Distillation for Fast Sampling of Diffusion Models*, 2022). All three are affine in each
other for a given x, so a *difference* of two predictions turns from one kind into another by a factor.

Ho et al. 2020 (eq. 14) for noise, Salimans and Ho 2022 (appendix D) for velocities. Times are stratified over a batch
(Kingma et al. 2021, section I.1): of n examples, one lies in each n-th of the times, which lowers the variance of the
gradient without changing its mean.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from snellen.core.errors import InputError

#: Names as in the configurations of diffusers; ``sample`` is the clean image.
Prediction = Literal["epsilon", "v_prediction", "sample"]


def check_prediction(name: str) -> Prediction:
    """The name as a kind of prediction.

    Raises:
        InputError: a kind that is not known, flow matching for instance.
    """
    for known in get_args(Prediction):
        if name == known:
            return known
    raise InputError(f"prediction type {name!r} is not one of {', '.join(get_args(Prediction))}")


def to_x0(prediction: Tensor, kind: Prediction, x: Tensor, alpha: float, sigma: float) -> Tensor:
    """The clean image that a prediction implies.

    >>> import torch
    >>> x0, eps = torch.tensor([2.0]), torch.tensor([-1.0])
    >>> x = 0.8 * x0 + 0.6 * eps
    >>> given = (eps, "epsilon"), (0.8 * eps - 0.6 * x0, "v_prediction")
    >>> [round(float(to_x0(prediction, kind, x, 0.8, 0.6)), 4) for prediction, kind in given]
    [2.0, 2.0]
    """
    if kind == "epsilon":
        return (x - sigma * prediction) / alpha
    return alpha * x - sigma * prediction if kind == "v_prediction" else prediction


def to_epsilon(prediction: Tensor, kind: Prediction, x: Tensor, alpha: float, sigma: float) -> Tensor:
    """The noise that a prediction implies."""
    if kind == "sample":
        return (x - alpha * prediction) / sigma
    return sigma * x + alpha * prediction if kind == "v_prediction" else prediction


def to_velocity(prediction: Tensor, kind: Prediction, x: Tensor, alpha: float, sigma: float) -> Tensor:
    """The velocity that a prediction implies."""
    if kind == "epsilon":
        return (prediction - sigma * x) / alpha
    return (alpha * x - prediction) / sigma if kind == "sample" else prediction


def convert(prediction: Tensor, kind: Prediction, wanted: Prediction, x: Tensor, alpha: float, sigma: float) -> Tensor:
    """A prediction of one kind as one of another; the same tensor where the kinds agree."""
    if kind == wanted:
        return prediction
    if wanted == "sample":
        return to_x0(prediction, kind, x, alpha, sigma)
    change = to_epsilon if wanted == "epsilon" else to_velocity
    return change(prediction, kind, x, alpha, sigma)


def convert_difference(difference: Tensor, kind: Prediction, wanted: Prediction, alpha: float, sigma: float) -> Tensor:
    """A difference of two predictions at the same x, in another kind: d_x0 = −sigma/alpha d_eps = −sigma d_v."""
    if kind == wanted:
        return difference
    # Each kind as a multiple of the velocity, which exists at both ends of the schedule.
    multiples = {"epsilon": alpha, "v_prediction": 1.0, "sample": -sigma}
    return difference * (multiples[wanted] / multiples[kind])


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
