"""One point of a scaling curve: a student that was trained on so many images, and what it loses on one test set."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from snellen.core.errors import InputError
from snellen.training.students import StudentResult

#: The test set that a curve is about where none is named: images like those that were trained on.
IN_DISTRIBUTION = "in distribution"


class ScalingRun(BaseModel):
    """A student and its figures.

    Attributes:
        config: what it was trained on: a setting of the generator, or real images.
        size: synthetic images, or real ones of a real configuration, all classes together (D).
        seed: of initial weights and order; the images are the same for all seeds.
        test: name of the test set.
        loss: mean cross-entropy, nats.
        accuracy: share of right decisions.
        class_losses: mean cross-entropy of each class; None for a class without test images.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    config: str
    size: int = Field(ge=1)
    seed: int
    test: str = IN_DISTRIBUTION
    loss: float
    accuracy: float = Field(ge=0, le=1)
    class_losses: tuple[float | None, ...] = ()

    @classmethod
    def of(
        cls, found: StudentResult, config: str, size: int, seed: int, classes: int, test: str = IN_DISTRIBUTION
    ) -> ScalingRun:
        """The point of a student. Losses of all classes are summed in one pass."""
        counts = np.bincount(found.targets, minlength=classes)
        sums = np.bincount(found.targets, weights=found.losses, minlength=classes)
        return cls(
            config=config,
            size=size,
            seed=seed,
            test=test,
            loss=float(found.losses.mean()),
            accuracy=float(found.right.mean()),
            class_losses=tuple(
                float(total / count) if count else None for total, count in zip(sums, counts, strict=True)
            ),
        )


def losses_of(runs: Sequence[ScalingRun], index: int | None = None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sizes and losses of runs, or the losses of one class: float64 (n,) each.

    Raises:
        InputError: no runs, runs of several configurations or test sets, or a loss that is not a positive number.
    """
    if not runs:
        raise InputError("there are no runs to fit a curve to")
    kinds = {(run.config, run.test) for run in runs}
    if len(kinds) > 1:
        raise InputError(f"a curve is of one configuration on one test set; got {sorted(kinds)}")
    losses = [run.loss if index is None else run.class_losses[index] for run in runs]
    for run, loss in zip(runs, losses, strict=True):
        if loss is None or not math.isfinite(loss) or loss <= 0:
            raise InputError(
                f"{run.config} with {run.size} images, seed {run.seed}: the loss is {loss}, and a power law takes "
                f"positive numbers; look for a diverged training or a test set that is too small"
            )
    return np.array([run.size for run in runs], dtype=np.float64), np.array(losses, dtype=np.float64)
