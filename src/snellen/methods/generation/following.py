"""What a method that follows a score does to each batch, and what it tells of it afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.methods.generation.asked import NO_CLASS, Asked
from snellen.methods.generation.classifier_scores import Reading, log_probability
from snellen.methods.generation.mean_shift import MeanShiftGuidance
from snellen.models.diffusion.generate import Steering
from snellen.models.diffusion.guidance import DroppedGradients, GradientGuidance
from snellen.models.diffusion.solver import SolverName


@dataclass(frozen=True, eq=False)
class Following:
    """Follow the log-probability of each image's class: the noise is shifted, or with DDPM the mean of each step.

    Args:
        asked: the images, each with a class.
        reading: what says how likely the classes are.
        scale: w; 1 is no guidance, the published scale is w − 1.
        solver: of the sampler.

    Raises:
        InputError: an image for which no class is asked.
    """

    asked: Asked
    reading: Reading
    scale: float
    solver: SolverName = "ddim"
    dropped: DroppedGradients = field(default_factory=DroppedGradients, init=False)

    def __post_init__(self) -> None:
        without = (self.asked.classes == NO_CLASS).nonzero().flatten().tolist()
        if without:
            raise InputError(
                f"a classifier guides towards a class, and {len(without)} of {len(self.asked)} requests ask for none "
                f"(number {without[0] + 1} first): give each a 'class', one of {', '.join(self.asked.class_names)}"
            )

    def __call__(self, rows: range, rng: Randomness) -> Steering:
        """The term of one batch, which is a hook as well where the mean is shifted."""
        score = log_probability(self.reading, self.asked.classes[list(rows)])
        dropped = _OfImages(self.dropped.steps, [str(row) for row in rows])
        if self.solver == "ddpm":
            shift = MeanShiftGuidance(score, self.scale, dropped=dropped)
            return Steering([shift], [shift])
        return Steering([GradientGuidance(score, self.scale, dropped=dropped)])

    def told(self) -> Sequence[Mapping[str, object]]:
        """Of each image in how many steps its gradient was not finite, and so was not followed."""
        return [{"gradients dropped": self.dropped.steps[str(row)]} for row in range(len(self.asked))]


@dataclass(eq=False)
class _OfImages(DroppedGradients):
    """Counts by the place of an image among those asked for, since several images may have one seed."""

    places: Sequence[str] = ()

    def zeroed(self, gradient: Tensor, ids: Sequence[str], followed: Tensor) -> Tensor:
        """As there, but counted by place."""
        return super().zeroed(gradient, self.places, followed)
