"""What a generator is pushed along: log-probabilities of a class, or closeness to a map, and how each is read.

log p(c | x_t) is read off the shelf (a network of clean images on noisy ones), off the shelf on the denoised estimate
x̂_0 (its gradient through the denoiser, or stopped there), or by experts that know the noise (H. Go et al. 2023). Each
function gives a score for :class:`snellen.models.diffusion.guidance.GradientGuidance` and
:class:`snellen.methods.generation.class_steer.MeanShiftGuidance`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.methods.generation.teachers import Teacher, pictures
from snellen.models.diffusion.denoiser import convert, to_x0
from snellen.models.diffusion.step_view import StepView

#: (latents (n, c, h, w), view) → scores (n,).
Score = Callable[[Tensor, StepView], Tensor]

#: A network's output for the latents of a step: (latents, view) → scores (n, k) or maps (n, ...).
Reading = Callable[[Tensor, StepView], Tensor]

#: What of a prediction is taken as a constant where a gradient stops at the denoiser.
Held = Literal["v_prediction", "epsilon"]


class Experts(Protocol):
    """What answers by timestep: low-rank experts, or whole ones."""

    def __call__(self, images: Tensor, timesteps: Tensor) -> Tensor:
        """Prepared noisy images (n, 3, h, w), timesteps (n,) → scores (n, k) or maps (n, ...)."""


def off_the_shelf(teacher: Teacher) -> Reading:
    """The teacher on the noisy latents themselves."""
    return lambda latents, view: teacher(pictures(view.generator, latents))


def on_the_estimate(teacher: Teacher, *, through: bool, held: Held = "v_prediction") -> Reading:
    """The teacher on the denoised estimate x̂_0, which is not clipped.

    Where the gradient stops at the denoiser, its prediction is a constant, and it matters which: with the velocity v,
    x̂_0 = √ᾱ x_t − √(1 − ᾱ) v and ∂x̂_0/∂x_t is √ᾱ, as it truly is of pixels that are independent and standard normal;
    with the noise, x̂_0 = (x_t − √(1 − ᾱ) ε) / √ᾱ and it is 1/√ᾱ, many times as much in the first steps.
    Neither depends on what the network predicts.

    Args:
        teacher: a network of clean images.
        through: the gradient goes through the denoiser, which costs a second call of it and a backward pass.
        held: what is a constant where it does not.
    """

    def read(latents: Tensor, view: StepView) -> Tensor:
        if through:
            return teacher(pictures(view.generator, view.x0(view.evaluate(latents), latents)))
        constant = convert(view.prediction, view.kind, held, view.latents, view.alpha, view.sigma)
        return teacher(pictures(view.generator, to_x0(constant, held, latents, view.alpha, view.sigma)))

    return read


def by_experts(teacher: Teacher, experts: Experts) -> Reading:
    """The expert of the step's timestep on the noisy latents."""

    def read(latents: Tensor, view: StepView) -> Tensor:
        timesteps = torch.full((len(latents),), view.timestep, dtype=torch.float64, device=latents.device)
        return experts(teacher.prepare(pictures(view.generator, latents)), timesteps)

    return read


def log_probability(reading: Reading, classes: Tensor) -> Score:
    """Log-probability of the class that is wanted of each sample; the softmax is taken in float32, for every type.

    Of a segmentation, it is the mean over the places.

    Args:
        reading: scores (n, k), or maps of scores (n, k, h, w).
        classes: that are wanted, int64 (n,), or (n, h, w) of maps.
    """

    def score(latents: Tensor, view: StepView) -> Tensor:
        scores = reading(latents, view)
        fits = scores.ndim >= 2 and (len(scores), *scores.shape[2:]) == tuple(classes.shape)
        if not fits or int(classes.min()) < 0 or int(classes.max()) >= scores.shape[1]:
            shown = f"{classes.flatten()[:8].tolist()} of shape {tuple(classes.shape)}"
            raise InputError(f"classes {shown} do not index scores of shape {tuple(scores.shape)}")
        found = scores.float().log_softmax(1).gather(1, classes.to(scores.device)[:, None])[:, 0]
        return found.reshape(len(found), -1).mean(1)

    return score


def closeness(reading: Reading, targets: Tensor) -> Score:
    """Minus the mean squared error to a wanted map, of each sample.

    Args:
        reading: maps (n, ...).
        targets: wanted maps, like them.
    """

    def score(latents: Tensor, view: StepView) -> Tensor:
        maps = reading(latents, view)
        if maps.shape != targets.shape:
            raise InputError(f"wanted maps have shape {tuple(maps.shape)}, like those read; got {tuple(targets.shape)}")
        return -(maps.float() - targets.to(maps.device)).square().flatten(1).mean(1)

    return score
