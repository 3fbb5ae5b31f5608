"""What edits cost: drops of accuracy on the same images, with intervals and tests; the worst attribute of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snellen.core.errors import InputError
from snellen.metrics.clustered import clustered_mean
from snellen.metrics.paired_test import mcnemar
from snellen.systems.attribute_editing.published import ATTRIBUTES, SETTINGS, Attribute


@dataclass(frozen=True)
class PairedDrop:
    """Accuracy before and after an edit, of the same images.

    Attributes:
        original: accuracy of the unedited images.
        edited: accuracy of the edited ones.
        low, high: 95 % interval of the drop.
        p_value: two-sided, of "as many decisions become wrong as become right": McNemar, exact; with units of the mean.
        count: images.
    """

    original: float
    edited: float
    low: float
    high: float
    p_value: float
    count: int

    @property
    def drop(self) -> float:
        """Accuracy that is lost, original − edited, in [−1, 1]."""
        return self.original - self.edited


def paired_drop(before: ArrayLike, after: ArrayLike, units: NDArray[np.int64] | None = None) -> PairedDrop:
    """The drop between two conditions.

    >>> found = paired_drop([True] * 8, [True] * 4 + [False] * 4)
    >>> found.drop, round(found.p_value, 3)
    (0.5, 0.125)

    Args:
        before: which unedited images are right, bool (n,).
        after: which of the same images are right when edited, bool (n,).
        units: images of one unit do not count as independent, (n,).

    Raises:
        InputError: no images, or two numbers of them.
    """
    first, second = np.asarray(before, dtype=bool), np.asarray(after, dtype=bool)
    if first.ndim != 1 or first.shape != second.shape or not len(first):
        raise InputError(
            f"a drop is of the same images, (n,) twice and at least one; got {first.shape}, {second.shape}"
        )
    differences = first.astype(np.float64) - second
    low, high = (-1.0, 1.0)
    if len(first) > 1:
        low, high = clustered_mean(differences, units, pseudo_units=1.0).interval()
    lost, gained = int((first & ~second).sum()), int((second & ~first).sum())
    p_value = mcnemar(lost, gained)
    if units is not None:
        mean = clustered_mean(differences, units, pseudo_units=1.0)
        p_value = min(2 * min(mean.p_value(), 1 - mean.p_value()), 1.0)
    return PairedDrop(float(first.mean()), float(second.mean()), max(low, -1.0), min(high, 1.0), p_value, len(first))


def mean_drop(drops: Mapping[str, PairedDrop], *, adversarial: bool = True) -> float | None:
    """Mean of the drops of the edits, the control left out; None where there is none.

    The published mean is of ten edits, one of which misleads a particular classifier; without it the mean is neutral
    between models.

    Args:
        drops: by kind of setting.
        adversarial: whether that one counts.
    """
    counted = [
        one.drop
        for kind, one in drops.items()
        if SETTINGS[kind].in_mean and (adversarial or not SETTINGS[kind].adversarial)
    ]
    return float(np.mean(counted)) if counted else None


def attribute_drops(drops: Mapping[str, PairedDrop]) -> dict[Attribute, float]:
    """Mean drop of each attribute, over its settings that are neutral between models."""
    found: dict[Attribute, float] = {}
    for attribute in ATTRIBUTES:
        values = [
            one.drop
            for kind, one in drops.items()
            if SETTINGS[kind].attribute == attribute and not SETTINGS[kind].adversarial
        ]
        if values:
            found[attribute] = float(np.mean(values))
    return found


def worst_attributes(confidences: Mapping[str, ArrayLike], before: ArrayLike) -> list[Attribute | None]:
    """For each image that is right unedited, the attribute whose edits take most of the probability of its class.

    Settings that are neutral between models count, each attribute by its worst one. Of equal ones, the first in the
    order of :data:`~snellen.systems.attribute_editing.published.ATTRIBUTES`. None: wrong to begin with, or no edit
    takes any.

    Args:
        confidences: probability of the true class under each setting, (n,) by kind.
        before: the same of the unedited images, (n,); NaN where the unedited image is wrong.
    """
    own = np.asarray(before, dtype=np.float64)
    least: dict[Attribute, NDArray[np.float64]] = {}
    for attribute in ATTRIBUTES:
        rows = [
            np.asarray(values, dtype=np.float64)
            for kind, values in confidences.items()
            if SETTINGS[kind].attribute == attribute and not SETTINGS[kind].adversarial
        ]
        if rows:
            least[attribute] = np.min(rows, axis=0)
    found: list[Attribute | None] = []
    for row, mine in enumerate(own.tolist()):
        lost = {attribute: mine - float(values[row]) for attribute, values in least.items()}
        worst = max(lost, key=lambda attribute: lost[attribute], default=None)
        found.append(worst if worst is not None and lost[worst] > 0 else None)
    return found


def lost_by(correct: Mapping[str, ArrayLike], before: ArrayLike) -> list[Sequence[Attribute]]:
    """For each image that is right unedited, the attributes of which any edit makes it wrong; none for wrong ones.

    Args:
        correct: which images are right under each setting, bool (n,) by kind.
        before: which unedited ones are right, bool (n,).
    """
    right = np.asarray(before, dtype=bool)
    return [
        [
            attribute
            for attribute in ATTRIBUTES
            if right[row]
            and any(
                SETTINGS[kind].attribute == attribute and not SETTINGS[kind].adversarial and not np.asarray(values)[row]
                for kind, values in correct.items()
            )
        ]
        for row in range(len(right))
    ]
