"""Guidance along the gradient of a score of the noisy latents: classifier guidance (Dhariwal and Nichol 2021).

With g = ∇_x log p(c | x_t) the noise becomes eps' = eps − sqrt(1 − abar) s g, and the estimate of the image follows
from it (their algorithm 2, for DDIM). The scale is that of every term here: w = 1 is no guidance, and s = w − 1. The
sampler runs without gradients; this term turns them on for itself alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from snellen.core.errors import ModelError
from snellen.models.diffusion.guidance import ALWAYS, Interval, Scale, acts_at, check_interval, row_scales
from snellen.models.diffusion.step_view import Branch, StepView


@dataclass(eq=False)
class DroppedGradients:
    """Gradients that were not finite, and so were not followed.

    Attributes:
        steps: number of such steps of each sample, by the sample's id.
    """

    steps: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        """Of all samples."""
        return self.steps.total()

    def zeroed(self, gradient: Tensor, ids: Sequence[str], followed: Tensor) -> Tensor:
        """Gradients (n, c, h, w), zero for each sample in which one number is not finite; these samples are counted.

        >>> dropped = DroppedGradients()
        >>> gradients = torch.tensor([[1.0, 2.0], [1.0, float("nan")]])
        >>> dropped.zeroed(gradients, ["a", "b"], torch.tensor([True, True])), dropped.steps["b"]
        (tensor([[1., 2.],
                [0., 0.]]), 1)

        Args:
            gradient: of each sample.
            ids: of the samples.
            followed: which samples are guided, bool (n,); others are not counted.
        """
        finite = gradient.flatten(1).isfinite().all(1)
        if bool(finite.all()):
            return gradient
        self.steps.update(ids[row] for row in (~finite.cpu() & followed).nonzero().flatten().tolist())
        return torch.where(finite.view(-1, *(1,) * (gradient.ndim - 1)), gradient, torch.zeros_like(gradient))


@dataclass(frozen=True, eq=False)
class GradientGuidance:
    """Push the latents to where a score is higher.

    Args:
        score: (latents (n, c, h, w), view) → log-probability or another score, (n,). The latents are those of the
            view, with gradients. For a classifier of clean images use ``view.generator.decode(view.x0(prediction,
            latents))``: with ``view.prediction`` the gradient stops at the denoiser, with ``view.evaluate(latents)`` it
            goes through it.
        scale: w; 1 is no guidance, and the published scale of classifier guidance is w − 1. In a step where no
            sample is guided, no score is computed.
        interval: timesteps at which it acts.
        dropped: counts the steps of each sample whose gradient was not finite: it is not followed there.

    Raises:
        InputError: an interval in which no timestep can lie.
    """

    score: Callable[[Tensor, StepView], Tensor]
    scale: Scale
    interval: Interval = ALWAYS
    dropped: DroppedGradients = field(default_factory=DroppedGradients)

    def __post_init__(self) -> None:
        check_interval(self.interval)

    def branches(self, view: StepView) -> Sequence[Branch]:
        """None: what the score needs, it asks for itself."""
        return []

    def direction(self, view: StepView) -> Tensor | None:
        """−sqrt(1 − abar) (w − 1) g, turned into the view's kind of prediction; errors are :func:`score_gradient`'s.

        Nothing in pure noise (abar = 0, as in schedules of zero terminal signal): it says nothing of the image.
        """
        scales = row_scales(self.scale, len(view))
        guided = scales != 1
        if not acts_at(self.interval, view.timestep) or not view.alpha or not bool(guided.any()):
            return None
        gradient = score_gradient(self.score, view)
        gradient = self.dropped.zeroed(gradient, view.ids, guided)
        strength = view.sigma * (scales - 1).to(gradient).reshape(-1, 1, 1, 1)
        return view.direction(-strength * gradient, "epsilon")


def score_gradient(score: Callable[[Tensor, StepView], Tensor], view: StepView) -> Tensor:
    """The gradient g of a score at the latents of a view, (n, c, h, w): each sample's own.

    Raises:
        ModelError: scores that do not depend on the latents, or of the wrong shape.
    """
    with torch.enable_grad():
        latents = view.latents.detach().requires_grad_(True)
        scores = score(latents, view)
        if scores.shape != (len(view),):
            raise ModelError(f"a score is one number for each sample, ({len(view)},); got {tuple(scores.shape)}")
        if not scores.requires_grad:
            raise ModelError("the score does not depend on the latents, so it has no gradient to follow")
        (gradient,) = torch.autograd.grad(scores.sum(), latents)
    return gradient
