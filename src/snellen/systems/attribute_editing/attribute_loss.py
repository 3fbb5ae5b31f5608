"""What a model loses when one attribute of an object is edited, beside what the editing itself costs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snellen.checks.check import CheckFigure
from snellen.checks.panels import Panel
from snellen.checks.per_image import ABSENT, RIGHT, PerImage
from snellen.checks.strengths import PSEUDO_UNITS
from snellen.core.errors import InputError
from snellen.metrics.clustered import ClusteredMean, clustered_mean
from snellen.metrics.paired_test import mcnemar
from snellen.systems.attribute_editing.published import ATTRIBUTES, SETTINGS, Attribute, Kind


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

    The published mean is of ten edits; one of them misleads a particular classifier; without it the mean is neutral
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
    """For each image that is right unedited, the attributes with an edit that makes it wrong; none for wrong ones.

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


#: The edit that changes nothing: what it costs, editing costs.
CONTROL: Kind = "inver"


@dataclass(frozen=True, eq=False)
class AttributeLosses:
    """Outcomes of the same images under all edits, and under the control.

    Attributes:
        paired: which of all images every edit could be made of, bool (all,).
        known: those n images.
        right: bool (severities, n) by kind of edit, the control included.
    """

    paired: NDArray[np.bool_]
    known: PerImage
    right: Mapping[str, NDArray[np.bool_]]

    @classmethod
    def of(cls, known: PerImage, outcomes: Mapping[str, NDArray[np.int8]]) -> AttributeLosses | None:
        """Keep the images that are present in all settings; None where there is none.

        Args:
            known: all images.
            outcomes: int8 (severities, n) by kind, see :meth:`snellen.checks.per_image.PerImage.outcomes`.
        """
        paired: NDArray[np.bool_] = known.labelled & np.all([(rows != ABSENT).all(0) for rows in outcomes.values()], 0)
        if not paired.any():
            return None
        return cls(paired, known.select(paired), {kind: rows[:, paired] == RIGHT for kind, rows in outcomes.items()})

    @property
    def kinds(self) -> tuple[str, ...]:
        """The edits, the control left out."""
        return tuple(kind for kind in self.right if kind != CONTROL)

    @property
    def attributes(self) -> tuple[Attribute, ...]:
        """The attributes that they change."""
        return tuple(one for one in ATTRIBUTES if any(SETTINGS[kind].attribute == one for kind in self.kinds))

    def kinds_of(self, attribute: str) -> tuple[str, ...]:
        """The edits of one attribute."""
        return tuple(kind for kind in self.kinds if SETTINGS[kind].attribute == attribute)

    def lost(self, attribute: str) -> ClusteredMean:
        """Right decisions lost over the edits of an attribute and their severities, those of the control taken off."""
        return self._mean(self._beyond(self.kinds_of(attribute)))

    def lost_measured(self, kinds: Sequence[str]) -> CheckFigure:
        """The same of some edits as a figure: the mean itself, and the interval that has pseudo-units."""
        beyond = self._beyond(kinds)
        low, high = self._mean(beyond).interval() if len(beyond) > 1 else (-1.0, 1.0)
        value = float(beyond.mean())
        return CheckFigure(
            value=value, low=max(min(low, value), -1.0), high=min(max(high, value), 1.0), n=len(self.known)
        )

    def by_image(self) -> list[dict[str, float]]:
        """What each image loses, by ``ATTRIBUTE.lost``: the figures of that name are the means."""
        lost = {f"{one}.lost": self._beyond(self.kinds_of(one)).tolist() for one in self.attributes}
        return [{name: values[row] for name, values in lost.items()} for row in range(len(self.known))]

    def drop(self, kind: str) -> PairedDrop:
        """What an edit takes of the accuracy of the unedited images, as published, at the largest severity."""
        return paired_drop(self.known.correct, self.right[kind][-1], self.known.units)

    def worst(self, confidences: Mapping[str, NDArray[np.float64]]) -> list[Attribute | None]:
        """For each image that is right, the attribute whose edits make its class least likely.

        Args:
            confidences: of the decisions under each edit, and unedited under the name of the control, (n,).
        """
        signed = {
            kind: np.where(self.right[kind][-1], 1.0, -1.0) * np.nan_to_num(confidences[kind], nan=1.0)
            for kind in self.kinds
        }
        before = np.where(self.known.correct, np.nan_to_num(confidences[CONTROL], nan=1.0), np.nan)
        return worst_attributes(signed, before)

    def lost_by(self) -> list[Sequence[Attribute]]:
        """For each image that is right unedited, the attributes with an edit that makes it wrong."""
        return lost_by({kind: self.right[kind][-1] for kind in self.kinds}, self.known.correct)

    def _beyond(self, kinds: Sequence[str]) -> NDArray[np.float64]:
        """Decisions of each image that are right under the control less those under the edits, (n,)."""
        edited = np.mean([self.right[kind].mean(0) for kind in kinds], 0)
        beyond: NDArray[np.float64] = self.right[CONTROL].mean(0) - edited
        return beyond

    def _mean(self, values: NDArray[np.float64]) -> ClusteredMean:
        return clustered_mean(values, self.known.units, pseudo_units=PSEUDO_UNITS)


def edits_panel(check: str, losses: AttributeLosses, severity: float) -> Panel:
    """A row for each edit and the control: accuracy, drop, test, and what is lost beyond the control.

    Args:
        check: its name.
        losses: of the images.
        severity: the largest one, at which accuracy and drop are reported.
    """
    rows = []
    for kind in losses.right:
        drop, beyond = losses.drop(kind), losses.lost_measured([kind])
        own = kind == CONTROL
        cells = ("", "", "") if own else tuple(round(cell, 4) for cell in (beyond.value, beyond.low, beyond.high))
        told = "" if own else "< 0.0001" if drop.p_value < 1e-4 else f"{drop.p_value:.2g}"
        rows.append((kind.replace("_", " "), round(drop.edited, 4), round(drop.drop, 4), told, *cells))
    return Panel(
        check=check,
        title="The same objects, edited",
        about=f"Of {len(losses.known)} images that every edit could be made of, {losses.known.correct.mean():.1%} are "
        f"right unedited. Drop: what is lost of that at severity {severity:g}, and its p value (McNemar, or by units). "
        f"Inver puts the object back as it was: what it loses, editing costs. Beyond inver: mean over the severities, "
        f"with the 95 % interval.",
        head=("edit", "accuracy", "drop", "p", "beyond inver", "from", "to"),
        rows=tuple(rows),
    )


def worst_panel(
    check: str,
    losses: AttributeLosses,
    worst: Sequence[Attribute | None],
    lost_by: Sequence[Sequence[Attribute]],
) -> Panel:
    """A row for each attribute: for how many images it matters.

    Args:
        check: its name.
        losses: of the n images.
        worst: the attribute of each image whose edits make its class least likely, (n,).
        lost_by: the attributes with an edit that makes its decision wrong, (n,).
    """
    lost = Counter(attribute for by in lost_by for attribute in by)
    alone = Counter(by[0] for by in lost_by if len(by) == 1)
    least = Counter(worst)
    return Panel(
        check=check,
        title="The attribute that each image depends on most",
        about=f"Of the {int(losses.known.correct.sum())} images that are right unedited: for how many an edit of the "
        f"attribute makes the decision wrong, for how many of no other attribute does, and for how many it makes the "
        f"class least likely.",
        head=("attribute", "lost by it", "by it alone", "worst for"),
        rows=tuple((one, lost[one], alone[one], least[one]) for one in losses.attributes),
    )
