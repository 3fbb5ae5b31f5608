"""A network that predicts noise, image or velocity, behind one call for all its classes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from snellen.core.errors import InputError
from snellen.models.diffusion.condition import Condition
from snellen.models.diffusion.parametrisation import Prediction

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
