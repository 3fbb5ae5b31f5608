"""Guidance away from a reference that is chosen in each step, from what the step shows: another class for instance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from snellen.diffusion.condition import Condition
from snellen.diffusion.denoiser import Denoiser
from snellen.diffusion.guidance import ALWAYS, Interval, ReferenceGuidance, Scale
from snellen.diffusion.step_view import Branch, StepView


@dataclass(frozen=True, eq=False)
class Choice:
    """A reference for one step.

    Args:
        scale: w for each sample; samples with w = 1 cost nothing.
        condition: of the reference, a row for each sample; None is the batch's own.
        denoiser: of the reference; None is the generator's own.
    """

    scale: Scale
    condition: Condition | None = None
    denoiser: Denoiser | None = None


@dataclass(frozen=True, eq=False)
class ChosenReferenceGuidance:
    """Guidance whose reference and scale are functions of the step: its predictions, its estimate of the image.

    Args:
        choose: what to guide away from; None is no guidance in this step. Called once a step, without gradients.
        interval: timesteps at which it acts.
    """

    choose: Callable[[StepView], Choice | None]
    interval: Interval = ALWAYS

    def branches(self, view: StepView) -> Sequence[Branch]:
        """Nothing is known before the step's own prediction is."""
        return []

    def direction(self, view: StepView) -> Tensor | None:
        """(w − 1)(D_c − D_ref) with the reference of this step."""
        low, high = self.interval
        chosen = self.choose(view) if low <= view.timestep <= high else None
        if chosen is None:
            return None
        return ReferenceGuidance(chosen.scale, chosen.condition, chosen.denoiser).direction(view)
