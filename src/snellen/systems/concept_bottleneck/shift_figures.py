"""A decision under a shortcut that turns round: as in training, reversed, the gap, and the worst group.

KnoBo's figures (Yang et al., NeurIPS 2024, arXiv 2405.14839): gap = |ID − OOD|, average = (ID + OOD) / 2; and the worst
of the groups of label and confounder (Sagawa et al., ICLR 2020, arXiv 1911.08731).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from snellen.core.errors import InputError
from snellen.metrics.groups import GroupCounts


@dataclass(frozen=True)
class ShiftFigures:
    """Shares of right decisions, in [0, 1].

    Attributes:
        id: where the confounder follows the class as in training.
        ood: where the relation is reversed.
        worst: of the groups of label and confounder over both sets together.
        worst_group: which, in words.
    """

    id: float
    ood: float
    worst: float
    worst_group: str

    @property
    def gap(self) -> float:
        """|ID − OOD|."""
        return abs(self.id - self.ood)

    @property
    def average(self) -> float:
        """(ID + OOD) / 2."""
        return (self.id + self.ood) / 2

    def as_figures(self, name: str) -> dict[str, float]:
        """``NAME.id``, ``NAME.ood``, ``NAME.gap``, ``NAME.average`` and ``NAME.worst``."""
        parts = {"id": self.id, "ood": self.ood, "gap": self.gap, "average": self.average, "worst": self.worst}
        return {f"{name}.{part}": value for part, value in parts.items()}


def worst_group(labels: ArrayLike, confounders: Sequence[str], right: ArrayLike) -> tuple[str, float]:
    """The group of label and confounder with the lowest share of right decisions, and that share.

    >>> worst_group([0, 0, 1], ["grass", "sand", "sand"], [True, False, True])
    ('0 | sand', 0.0)

    Args:
        labels: (n,).
        confounders: (n,).
        right: bool (n,).

    Raises:
        InputError: no images, or different numbers of them.
    """
    truth = np.asarray(labels)
    if len(truth) != len(confounders):
        raise InputError(f"{len(truth)} labels came with {len(confounders)} confounders; each image needs both")
    cells = [f"{label} | {value}" for label, value in zip(truth.tolist(), confounders, strict=True)]
    worst = GroupCounts.of(cells, right).worst()
    if worst is None:
        raise InputError("there is no image to judge")
    return worst.name, worst.share


def shift_figures(
    labels: tuple[ArrayLike, ArrayLike],
    confounders: tuple[Sequence[str], Sequence[str]],
    decisions: tuple[ArrayLike, ArrayLike],
) -> ShiftFigures:
    """Figures of decisions on two sets: as in training, and reversed.

    Args:
        labels: of both sets.
        confounders: of both.
        decisions: of both.

    Raises:
        InputError: an empty set, or different numbers of images.
    """
    right = [np.asarray(made) == np.asarray(label) for made, label in zip(decisions, labels, strict=True)]
    name, share = worst_group(
        np.concatenate([np.asarray(label) for label in labels]),
        [*confounders[0], *confounders[1]],
        np.concatenate(right),
    )
    return ShiftFigures(id=float(right[0].mean()), ood=float(right[1].mean()), worst=share, worst_group=name)
