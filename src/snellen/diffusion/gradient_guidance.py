"""Guidance along the gradient of a score of the noisy latents: classifier guidance (Dhariwal and Nichol 2021).

With g = ∇_x log p(c | x_t) the noise becomes eps' = eps − sqrt(1 − abar) s g, and the estimate of the image follows
from it (their algorithm 2, for DDIM). The sampler runs without gradients; this term turns them on for itself alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.diffusion.guidance import ALWAYS, Interval, Scale, row_scales
from snellen.diffusion.step_view import Branch, StepView
from snellen.errors import ModelError


@dataclass(frozen=True, eq=False)
class GradientGuidance:
    """Push the latents to where a score is higher.

    Args:
        score: (latents (n, c, h, w), view) → log-probability or another score, (n,). The latents are those of the
            view, with gradients. For a classifier of clean images use ``view.generator.decode(view.x0(prediction,
            latents))``: with ``view.prediction`` the gradient stops at the denoiser, with ``view.evaluate(latents)`` it
            goes through it.
        scale: s; 0 is no guidance.
        interval: timesteps at which it acts.
    """

    score: Callable[[Tensor, StepView], Tensor]
    scale: Scale = 1.0
    interval: Interval = ALWAYS

    def branches(self, view: StepView) -> Sequence[Branch]:
        """None: what the score needs, it asks for itself."""
        return []

    def direction(self, view: StepView) -> Tensor | None:
        """−sqrt(1 − abar) s g, turned into the view's kind of prediction.

        Raises:
            ModelError: scores that do not depend on the latents, or of the wrong shape.
        """
        low, high = self.interval
        scales = row_scales(self.scale, len(view))
        if not low <= view.timestep <= high or not bool((scales != 0).any()):
            return None
        with torch.enable_grad():
            latents = view.latents.detach().requires_grad_(True)
            scores = self.score(latents, view)
            if scores.shape != (len(view),):
                raise ModelError(f"a score is one number for each sample, ({len(view)},); got {tuple(scores.shape)}")
            if not scores.requires_grad:
                raise ModelError("the score does not depend on the latents, so it has no gradient to follow")
            (gradient,) = torch.autograd.grad(scores.sum(), latents)
        strength = view.sigma * scales.to(gradient).reshape(-1, 1, 1, 1)
        return view.direction(-strength * gradient, "epsilon")
