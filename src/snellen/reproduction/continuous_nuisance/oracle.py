"""What a judge that guided, filtered and decided nothing reads of images: nuisance, class and place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snellen.metrics.rank_correlation import spearman
from snellen.models.classifiers.factor_judge import FactorJudge
from snellen.reproduction.continuous_nuisance.scales import ReadShift


@dataclass(frozen=True, eq=False)
class Reading:
    """Readings of images, each (n, strengths).

    Attributes:
        nuisance: how much of the shift: a measured strength, or log-odds of a value.
        right: whether the class is the requested one.
        places: centre of the object in half sides, (n, strengths, 2).
    """

    nuisance: NDArray[np.float64]
    right: NDArray[np.bool_]
    places: NDArray[np.float64]

    def spearman(self, strengths: tuple[float, ...]) -> float:
        """Rank correlation of strength and nuisance, in the mean over trajectories."""
        return float(np.mean([spearman(strengths, row) for row in self.nuisance]))

    def rising(self) -> float:
        """Share of the steps from one strength to the next in which the nuisance rises."""
        return float((np.diff(self.nuisance, axis=1) > 0).mean())


def read(judge: FactorJudge, images: Tensor, shift: ReadShift, class_names: list[str]) -> Reading:
    """Read trajectories (n, strengths, 3, h, w) of classes (n)."""
    flat, shape = images.flatten(0, 1), tuple(images.shape[:2])
    measured = judge.measured(flat)
    if shift.measure:
        nuisance = measured[shift.measure]
    else:
        factor, value = shift.factor
        share = judge.probabilities(flat)[factor][:, judge.factors[factor].index(value)].double()
        nuisance = torch.logit(share, eps=1e-9)
    said = np.array(judge.answers(flat)["shape"]).reshape(shape)
    places = torch.stack([measured["x"], measured["y"]], 1)
    return Reading(
        nuisance.double().reshape(shape).numpy(),
        said == np.array(class_names)[:, None],
        places.double().reshape(*shape, 2).numpy(),
    )
