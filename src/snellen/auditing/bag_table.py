"""The bags of an audit, such as slides of tiles: one score each, pooled from the clean scores of their images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from snellen.checks.per_image import PerImage, rows_of
from snellen.core.errors import InputError
from snellen.metrics.bag_pooling import Pooling, pooled
from snellen.metrics.temperature import tempered_probabilities
from snellen.metrics.units import unit_codes

Value = TypeVar("Value", str, int)


@dataclass(frozen=True, eq=False)
class BagTable:
    """Bags that have usable images, in the order in which their first images come.

    Attributes:
        ids: of the b bags.
        labels: int64 (b,), class of each bag, −1 where unknown.
        scores: float64 (b,), pooled probability of the positive class.
        units: name of the patient, or whatever a bag is of; None where unknown.
        groups: name of the group that all grouped images of a bag have; None where there is none, or several.
        members: rows of the images of each bag, int64, ascending.
        probabilities: float64 (n,), of the positive class, for each image of the audit, in a bag or not.
        positive: which class is the positive one.
        threshold: score from which on a bag is called positive.
    """

    ids: tuple[str, ...]
    labels: NDArray[np.int64]
    scores: NDArray[np.float64]
    units: tuple[str | None, ...]
    groups: tuple[str | None, ...]
    members: tuple[NDArray[np.int64], ...]
    probabilities: NDArray[np.float64]
    positive: int
    threshold: float

    @classmethod
    def of(cls, known: PerImage, *, positive: int, pooling: Pooling, threshold: float) -> BagTable:
        """Pool the images of each bag; images without a bag are in none.

        Args:
            known: with scores.
            positive: which class is the positive one; bags of all others are negative.
            pooling: how the probabilities of a bag's images become one.
            threshold: score from which on a bag is called positive.

        Raises:
            InputError: no scores, no bags, a bag of two labels or two units, or a label that is no class.
        """
        members = rows_of(known.bags)
        if known.scores is None or not members:
            raise InputError("bags are scored from images that are in bags (column bag_id) and have scores")
        probabilities = tempered_probabilities(known.scores, 1.0)[:, positive]
        rows = np.concatenate(list(members.values()))
        owners = np.repeat(np.arange(len(members)), [len(own) for own in members.values()])
        labels = [None] * len(known) if known.bag_labels is None else known.bag_labels.tolist()
        classes = known.scores.shape[1]
        if max((label for label in labels if label is not None), default=-1) >= classes:
            raise InputError(f"a bag has label {max(filter(None, labels))}, and there are {classes} classes")
        said = [one_each(bag, "bag_label", [labels[row] for row in own], -1) for bag, own in members.items()]
        # An image without a unit is its own.
        own_units = zip(known.unit_ids or known.ids, known.ids, strict=True)
        names = [None if unit == image else unit for unit, image in own_units]
        groups = known.groups or (None,) * len(known)
        return cls(
            ids=tuple(members),
            labels=np.array([-1 if label is None else label for label in said], dtype=np.int64),
            scores=pooled(probabilities[rows], owners, len(members), pooling=pooling),
            units=tuple(one_each(bag, "unit_id", [names[row] for row in own]) for bag, own in members.items()),
            groups=tuple(_common([groups[row] for row in own]) for own in members.values()),
            members=tuple(members.values()),
            probabilities=probabilities,
            positive=positive,
            threshold=threshold,
        )

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def labelled(self) -> NDArray[np.bool_]:
        """Whether the label of each bag is known, (b,)."""
        return self.labels >= 0

    @cached_property
    def truth(self) -> NDArray[np.bool_]:
        """Whether each bag is of the positive class, (b,); False where unknown."""
        return self.labels == self.positive

    @cached_property
    def called(self) -> NDArray[np.bool_]:
        """Whether each bag is called positive, (b,)."""
        return self.scores >= self.threshold

    @cached_property
    def correct(self) -> NDArray[np.bool_]:
        """Whether each bag is called what it is, (b,); False where its label is unknown."""
        return self.labelled & (self.called == self.truth)

    @cached_property
    def unit_codes(self) -> NDArray[np.int64]:
        """Code of the unit of each bag, int64 (b,): its patient, or the bag itself where none is known."""
        owners = zip(self.ids, self.units, strict=True)
        return unit_codes([f"bag {bag}" if unit is None else f"unit {unit}" for bag, unit in owners])

    def units_of(self, chosen: NDArray[np.bool_]) -> NDArray[np.int64] | None:
        """Unit codes of some bags, by mask (b,); None when every bag is a unit of its own."""
        codes = self.unit_codes
        return None if len(np.unique(codes)) == len(codes) else codes[chosen]

    @cached_property
    def of_image(self) -> NDArray[np.int64]:
        """Position of the bag of each image of the audit, int64 (n,); −1 for an image in none."""
        found = np.full(len(self.probabilities), -1, dtype=np.int64)
        for place, rows in enumerate(self.members):
            found[rows] = place
        return found

    @cached_property
    def strongest(self) -> NDArray[np.int64]:
        """Row of the likeliest positive image of each bag, int64 (b,); the first of equal ones."""
        return np.array([rows[self.probabilities[rows].argmax()] for rows in self.members], dtype=np.int64)


def one_each(bag: str, column: str, values: Sequence[Value | None], unknown: Value | None = None) -> Value | None:
    """The one value that a column has in a bag, None where no image of it says any.

    Raises:
        InputError: two values.
    """
    said = {value for value in values if value is not None and value != unknown}
    if len(said) > 1:
        one, other, *_ = sorted(map(str, said))
        raise InputError(f"bag {bag!r} has two values of {column}: {one} and {other}; a bag has one")
    return said.pop() if said else None


def _common(values: Sequence[str | None]) -> str | None:
    said = {value for value in values if value is not None}
    return said.pop() if len(said) == 1 else None
