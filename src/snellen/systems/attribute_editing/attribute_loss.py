"""What a model loses when one attribute of an object is edited, beside what the editing itself costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snellen.checks.check import Measured
from snellen.checks.per_image import ABSENT, RIGHT, PerImage
from snellen.checks.strengths import PSEUDO_UNITS
from snellen.metrics.clustered import ClusteredMean, clustered_mean
from snellen.systems.attribute_editing.drops import PairedDrop, lost_by, paired_drop, worst_attributes
from snellen.systems.attribute_editing.published import ATTRIBUTES, SETTINGS, Attribute, Kind

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

    def lost_measured(self, kinds: Sequence[str]) -> Measured:
        """The same of some edits as a figure: the mean itself, and the interval that has pseudo-units."""
        beyond = self._beyond(kinds)
        low, high = self._mean(beyond).interval() if len(beyond) > 1 else (-1.0, 1.0)
        value = float(beyond.mean())
        return Measured(value=value, low=max(min(low, value), -1.0), high=min(max(high, value), 1.0), n=len(self.known))

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
        """For each image that is right unedited, the attributes of which an edit makes it wrong."""
        return lost_by({kind: self.right[kind][-1] for kind in self.kinds}, self.known.correct)

    def _beyond(self, kinds: Sequence[str]) -> NDArray[np.float64]:
        """Decisions of each image that are right under the control less those under the edits, (n,)."""
        edited = np.mean([self.right[kind].mean(0) for kind in kinds], 0)
        beyond: NDArray[np.float64] = self.right[CONTROL].mean(0) - edited
        return beyond

    def _mean(self, values: NDArray[np.float64]) -> ClusteredMean:
        return clustered_mean(values, self.known.units, pseudo_units=PSEUDO_UNITS)
