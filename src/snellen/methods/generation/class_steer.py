"""What a method that follows a score does to each batch, and what it records about it.

Dhariwal and Nichol 2021, algorithm 1, after Sohl-Dickstein et al. 2015: of x_{t−1} ~ N(μ, Σ_t) the mean becomes
μ + Σ_t s g, with g = ∇ log p(c | x_t) and s = w − 1. Σ_t is the variance of the noise that the step adds: that of the
posterior, or β of the step where the generator's schedule says so (``fixed_large``).

For maps the published code (H. Go et al. 2023, of a cascade) rescales g ← g / ‖g‖ · ‖μ‖ · s first; here each sample has
its own norms, so that a batch does not matter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.methods.generation.classifier_scores import Reading, Score, log_probability
from snellen.methods.generation.generator_call import NO_CLASS, GeneratorCall
from snellen.models.diffusion.generate import Steering
from snellen.models.diffusion.guidance import (
    ALWAYS,
    DroppedGradients,
    GradientGuidance,
    Interval,
    Scale,
    acts_at,
    check_interval,
    row_scales,
    score_gradient,
)
from snellen.models.diffusion.sampler import LatentHook, Moment
from snellen.models.diffusion.solver import SolverName
from snellen.models.diffusion.step_view import Branch, StepView


def step_posterior(alpha: float, before: float) -> tuple[float, float, float]:
    """The step q(x_{t−1} | x_t, x_0) = N(a x_0 + b x_t, Σ): a, b and Σ (Ho et al. 2020, equations 6 and 7).

    >>> a, b, variance = step_posterior(0.6, 0.8)
    >>> round(a + b * 0.6, 6), round(b * b * (1 - 0.6**2) + variance, 6)  # mean and variance are those of t − 1
    (0.8, 0.36)

    Args:
        alpha: √ᾱ_t, of the latents before the step.
        before: √ᾱ of the latents that it leads to.
    """
    kept = (alpha / before) ** 2
    left, noise = 1 - before**2, 1 - alpha**2
    return before * (1 - kept) / noise, kept**0.5 * left / noise, (1 - kept) * left / noise


@dataclass(eq=False)
class MeanShiftGuidance(LatentHook):
    """Push the mean of each step to where a score is higher. Give it as a term *and* as a hook of the sampler (DDPM).

    As a term it reads the latents before the step, as a hook it moves what the step gave; it belongs to one batch.

    Args:
        score: (latents, view) → (n,); see :mod:`snellen.methods.generation.classifier_scores`.
        scale: w; 1 is no guidance, s = w − 1.
        relative: rescale each gradient to the norm of the step's mean, as published for maps.
        interval: timesteps at which it acts.
        dropped: counts gradients that were not finite.

    Raises:
        InputError: an interval in which no timestep can lie.
    """

    score: Score
    scale: Scale
    relative: bool = False
    interval: Interval = ALWAYS
    dropped: DroppedGradients = field(default_factory=DroppedGradients)
    _seen: tuple[Tensor, StepView] | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        check_interval(self.interval)

    def branches(self, view: StepView) -> Sequence[Branch]:
        """None: the score requests what it needs."""
        return []

    def direction(self, view: StepView) -> None:
        """Keep s g and the latents for the end of the step; the prediction stays as it is."""
        strength = row_scales(self.scale, len(view)) - 1
        self._seen = None
        if acts_at(self.interval, view.timestep) and bool((strength != 0).any()):
            gradient = self.dropped.zeroed(score_gradient(self.score, view), view.ids, strength != 0)
            self._seen = _rows(strength, gradient) * gradient, view

    def after(self, moment: Moment) -> Tensor | None:
        """What the step gave, moved by Σ_t s g."""
        if self._seen is None:
            return None
        push, view = self._seen
        latents = view.latents
        of_image, of_latents, variance = step_posterior(view.alpha, moment.alpha)
        if view.generator.schedule.get("variance_type") == "fixed_large":
            variance = 1 - (view.alpha / moment.alpha) ** 2
        if self.relative:
            assert moment.x0 is not None
            mean = (of_image * moment.x0 + of_latents * latents).flatten(1).norm(dim=1)
            # The push is s g: its direction has the sign of s, and |s| ‖μ‖ is its new length; one of 0 stays 0.
            unit = push / _rows(push.flatten(1).norm(dim=1), push).clamp_min(torch.finfo(push.dtype).tiny)
            push = _rows((row_scales(self.scale, len(latents)) - 1).abs().to(mean) * mean, push) * unit
        return moment.latents + variance * push


def _rows(values: Tensor, like: Tensor) -> Tensor:
    return values.to(like).reshape(-1, *(1,) * (like.ndim - 1))


@dataclass(frozen=True, eq=False)
class ClassSteer:
    """Follow the log-probability of each image's class: the noise is shifted, or with DDPM the mean of each step.

    Args:
        requested: the images, each with a class.
        reading: what says how likely the classes are.
        scale: w; 1 is no guidance, the published scale is w − 1.
        solver: of the sampler.

    Raises:
        InputError: an image without a requested class.
    """

    requested: GeneratorCall
    reading: Reading
    scale: float
    solver: SolverName = "ddim"
    dropped: DroppedGradients = field(default_factory=DroppedGradients, init=False)

    def __post_init__(self) -> None:
        without = (self.requested.classes == NO_CLASS).nonzero().flatten().tolist()
        if without:
            raise InputError(
                f"a classifier guides towards a class, and {len(without)} of {len(self.requested)} requests name none "
                f"(number {without[0] + 1} first): give each a 'class', one of {', '.join(self.requested.class_names)}"
            )

    def __call__(self, rows: range, rng: Randomness) -> Steering:
        """The term of one batch, which is a hook as well where the mean is shifted."""
        score = log_probability(self.reading, self.requested.classes[list(rows)])
        dropped = _OfImages(self.dropped.steps, [str(row) for row in rows])
        if self.solver == "ddpm":
            shift = MeanShiftGuidance(score, self.scale, dropped=dropped)
            return Steering([shift], [shift])
        return Steering([GradientGuidance(score, self.scale, dropped=dropped)])

    def reported(self) -> Sequence[Mapping[str, object]]:
        """Of each image in how many steps its gradient was not finite, and so was not followed."""
        return [{"gradients dropped": self.dropped.steps[str(row)]} for row in range(len(self.requested))]


@dataclass(eq=False)
class _OfImages(DroppedGradients):
    """Counts by the place of an image among the requests, since several images may have one seed."""

    places: Sequence[str] = ()

    def zeroed(self, gradient: Tensor, ids: Sequence[str], followed: Tensor) -> Tensor:
        """As there, but counted by place."""
        return super().zeroed(gradient, self.places, followed)
