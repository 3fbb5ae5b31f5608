"""Guidance away from a reference that is chosen in each step, from what the step shows: another class for instance."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from snellen.models.diffusion.condition import Condition
from snellen.models.diffusion.denoiser import Denoiser
from snellen.models.diffusion.guidance import ALWAYS, Interval, ReferenceGuidance, Scale, acts_at, check_interval
from snellen.models.diffusion.step_view import Branch, StepView


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
        foresee: reference and samples of which it is known, before the step's own prediction is made, that ``choose``
            will name them, with the same condition object; both predictions then share one call. None where that
            cannot be told. By default it never can.

    Raises:
        InputError: an interval in which no timestep can lie.
    """

    choose: Callable[[StepView], Choice | None]
    interval: Interval = ALWAYS
    foresee: Callable[[StepView], Choice | None] = lambda view: None

    def __post_init__(self) -> None:
        check_interval(self.interval)

    def branches(self, view: StepView) -> Sequence[Branch]:
        """The reference that is foreseen; otherwise nothing is known before the step's own prediction is."""
        foreseen = self.foresee(view) if acts_at(self.interval, view.timestep) else None
        return [] if foreseen is None else _guidance(foreseen).branches(view)

    def direction(self, view: StepView) -> Tensor | None:
        """(w − 1)(D_c − D_ref) with the reference of this step."""
        chosen = self.choose(view) if acts_at(self.interval, view.timestep) else None
        return None if chosen is None else _guidance(chosen).direction(view)


def _guidance(chosen: Choice) -> ReferenceGuidance:
    return ReferenceGuidance(chosen.scale, chosen.condition, chosen.denoiser)
