"""The frame of everything that is fitted: one ``fit`` for all recipes, and what its parts need of a call of it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BeforeValidator

from snellen.core.artifact import Artifact, Lineage
from snellen.core.errors import InputError
from snellen.core.images import ImageSet
from snellen.core.method import Method
from snellen.core.progress import Progress
from snellen.core.randomness import Randomness
from snellen.training.environment import record_environment
from snellen.training.plan import TrainingPlan
from snellen.version import __version__


@dataclass(frozen=True, eq=False)
class Fitting:
    """One call of ``fit``.

    Args:
        data: images, none of them test images.
        rng: seeds initial weights, order, augmentation and all other draws.
        base: model to continue training from.
        checkpoint: file to save to, and to go on from if it exists.
        progress: callback that receives progress updates.
    """

    data: ImageSet
    rng: Randomness
    base: Artifact | None = None
    checkpoint: Path | None = None
    progress: Progress | None = None

    def seeded(self, plan: TrainingPlan) -> TrainingPlan:
        """The plan with a seed of this call."""
        return plan.model_copy(update={"seed": self.rng.generator("training").initial_seed() % 2**31})

    def lineage(self, recipe: Mapping[str, Any], data: str, *, parent: str | None = None) -> Lineage:
        """Where the result comes from.

        Args:
            recipe: what made it, as ``Method.record()`` gives it, and facts that follow.
            data: fingerprint of the training images.
            parent: hash of the weights it started from; left out, that of the base.
        """
        return Lineage(
            recipe=dict(recipe),
            data=data,
            seed=self.rng.seed,
            code_version=__version__,
            parent=self.base.card.sha256 if parent is None and self.base is not None else parent,
            environment=record_environment(),
        )


class FittedMethod(Method):
    """A recipe: its parameters, and what ``fitted`` makes of images once they were checked."""

    @property
    def starts_from(self) -> str | None:
        """What it always starts from, in words; None: it takes a base."""
        return None

    def fit(
        self,
        data: ImageSet,
        *,
        base: Artifact | None = None,
        rng: Randomness,
        checkpoint: Path | None = None,
        progress: Progress | None = None,
    ) -> Artifact:
        """Fit to images; arguments are those of :class:`Fitting`.

        Images of a split "val" choose between epochs or numbers; the others are fitted to.

        Raises:
            InputError: test images, images that the recipe cannot use, or a base that it does not take.
        """
        if base is not None and self.starts_from is not None:
            raise InputError(f"{self.name} starts from {self.starts_from} and takes no base")
        if (reason := self.missing(images=data.for_fitting())) is not None:
            raise InputError(f"{self.name} {reason}")
        return self.fitted(Fitting(data, rng, base, checkpoint, progress))

    @abstractmethod
    def fitted(self, fitting: Fitting) -> Artifact:
        """Fit to images that were checked."""


def laid_over(plan: TrainingPlan) -> BeforeValidator:
    """Lay the numbers of a mapping over a recipe's own; anything else, such as a whole plan, stays as it is."""
    return BeforeValidator(lambda given: {**plan.model_dump(), **given} if isinstance(given, Mapping) else given)
