"""Functions that see the latents before and after each step, and may replace them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Moment:
    """Where the sampler stands when a hook is called.

    Args:
        index: number of the step, from 0 (noise) up.
        steps: number of steps.
        timestep: of the latents, on the scale of the training schedule; −1 for the finished image.
        latents: of the network's scale, float32 (n, c, h, w): alpha x0 + sigma eps.
        alpha, sigma: level of the latents.
        ids: of the samples.
        first: this is the first step of the call of ``run``.
        x0: after a step, the estimate of the clean latents from which it was made; None before it.
    """

    index: int
    steps: int
    timestep: float
    latents: Tensor
    alpha: float
    sigma: float
    ids: tuple[str, ...]
    first: bool
    x0: Tensor | None = None


class LatentHook:
    """Sees every step; a subclass overrides what it needs. Several hooks of a run are called in their order."""

    def before(self, moment: Moment) -> Tensor | None:
        """Called before the network; returns other latents, or None to leave them."""

    def after(self, moment: Moment) -> Tensor | None:
        """Called after a step, with the latents and the level of the *next* one; returns other latents, or None."""
