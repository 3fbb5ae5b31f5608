"""A network that predicts noise, image or velocity, behind one call for all its classes, and what it is trained on.

A noisy image is x = alpha x0 + sigma eps with alpha² + sigma² = 1. The velocity is v = alpha eps − sigma x0 (Salimans
and Ho, *Progressive Distillation for Fast Sampling of Diffusion Models*, 2022). All three are affine in each
other for a given x, so a *difference* of two predictions turns from one kind into another by a factor.

Ho et al. 2020 (eq. 14) for noise, Salimans and Ho 2022 (appendix D) for velocities. Times are stratified over a batch
(Kingma et al. 2021, section I.1): of n examples, one lies in each n-th of the times, which lowers the variance of the
gradient without changing its mean.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from snellen.core.errors import InputError
from snellen.models.diffusion.condition import Condition

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


#: latents (n, c, h, w), timesteps (n,), condition → prediction (n, c, h, w) or (n, 2c, h, w)
Call = Callable[[Any, Tensor, Tensor, Condition], Tensor]


@dataclass(frozen=True, eq=False)
class Denoiser:
    """A frozen network with what is needed to read its predictions.

    Args:
        network: a network of the diffusers library, in evaluation mode, without parameter gradients.
        prediction: what it predicts.
        alphas_cumprod: alpha² of each training timestep, float32 (timesteps,).
        channels: channels of its latents.
        size: height and width of the latents that it was made for.
        size_multiple: what height and width of its latents must be divisible by.
    """

    network: nn.Module
    prediction: Prediction
    alphas_cumprod: Tensor
    channels: int
    size: tuple[int, int]
    size_multiple: int

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights."""
        return next(self.network.parameters()).dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.network.parameters()).device

    def __call__(self, latents: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        """Predict from latents (n, c, h, w) at timesteps (n,), of variance one: float32 (n, c, h, w).

        A learned variance, the second half of the channels, is dropped.
        """
        call = CALLS[type(self.network).__name__]
        predicted = call(self.network, latents.to(self.dtype), timesteps, condition)
        return predicted[:, : self.channels].to(latents.dtype)


def _text_unet(network: Any, latents: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:  # noqa: ANN401
    text = _needed(condition, "text")
    added = None
    if condition.pooled is not None and condition.time_ids is not None:
        added = {"text_embeds": condition.pooled.to(latents), "time_ids": condition.time_ids.to(latents)}
    mask = condition.mask
    predicted: Tensor = network(
        latents,
        timesteps,
        encoder_hidden_states=text.to(latents),
        encoder_attention_mask=mask,
        added_cond_kwargs=added,
        return_dict=False,
    )[0]
    return predicted


def _unet(network: Any, latents: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:  # noqa: ANN401
    classes = _needed(condition, "classes") if network.class_embedding is not None else None
    predicted: Tensor = network(latents, timesteps, class_labels=classes, return_dict=False)[0]
    return predicted


def _pixart(network: Any, latents: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:  # noqa: ANN401
    added: dict[str, Tensor | None] = {"resolution": None, "aspect_ratio": None}
    if network.use_additional_conditions:
        sizes = _needed(condition, "time_ids").to(latents)
        added = {"resolution": sizes[:, :2], "aspect_ratio": sizes[:, :1] / sizes[:, 1:2]}
    predicted: Tensor = network(
        latents,
        encoder_hidden_states=_needed(condition, "text").to(latents),
        encoder_attention_mask=condition.mask,
        timestep=timesteps,
        added_cond_kwargs=added,
        return_dict=False,
    )[0]
    return predicted


def _class_transformer(network: Any, latents: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:  # noqa: ANN401
    classes = _needed(condition, "classes")
    predicted: Tensor = network(latents, timestep=timesteps, class_labels=classes, return_dict=False)[0]
    return predicted


#: Class of the network → how it is called.
CALLS: dict[str, Call] = {
    "UNet2DConditionModel": _text_unet,
    "UNet2DModel": _unet,
    "PixArtTransformer2DModel": _pixart,
    "DiTTransformer2DModel": _class_transformer,
}


def _needed(condition: Condition, part: str) -> Tensor:
    tensor: Tensor | None = getattr(condition, part)
    if tensor is None:
        raise InputError(f"the denoiser needs a condition with {part}; this one has: {', '.join(condition.tensors())}")
    return tensor
