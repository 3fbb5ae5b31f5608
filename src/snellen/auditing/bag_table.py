"""The bags of an audit, such as slides of tiles: one pooled score each, their figures, and each of them by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from snellen.checks.check import CheckFigure
from snellen.checks.per_image import BAG, BAG_LABEL, GROUP, PerImage, rows_of
from snellen.core.errors import InputError
from snellen.core.factors import groupings
from snellen.core.finding import Finding, FindingExample
from snellen.core.images import ImageSet
from snellen.metrics.auroc import auroc
from snellen.metrics.auroc_interval import macro_auroc_interval
from snellen.metrics.bag_pooling import Pooling, pooled
from snellen.metrics.clustered import clustered_share
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
        units: name of the patient, or other unit of a bag; None where unknown.
        groups: name of the group that all grouped images of a bag have; None where there is none, or several.
        members: rows of the images of each bag, int64, ascending.
        probabilities: float64 (n,), of the positive class, for each image of the audit, in a bag or not.
        positive: which class is the positive one.
        threshold: score from which on a bag is called positive.
        factors: of several groups, the same as ``groups`` for each by its name.
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
    factors: Mapping[str, tuple[str | None, ...]] = field(default_factory=dict)

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
        stated = [one_each(bag, "bag_label", [labels[row] for row in own], -1) for bag, own in members.items()]
        # An image without a unit is its own.
        own_units = zip(known.unit_ids or known.ids, known.ids, strict=True)
        names = [None if unit == image else unit for unit, image in own_units]
        groups = known.groups or (None,) * len(known)
        return cls(
            ids=tuple(members),
            labels=np.array([-1 if label is None else label for label in stated], dtype=np.int64),
            scores=pooled(probabilities[rows], owners, len(members), pooling=pooling),
            units=tuple(one_each(bag, "unit_id", [names[row] for row in own]) for bag, own in members.items()),
            groups=tuple(_common([groups[row] for row in own]) for own in members.values()),
            members=tuple(members.values()),
            probabilities=probabilities,
            positive=positive,
            threshold=threshold,
            factors={
                name: tuple(_common([values[row] for row in own]) for own in members.values())
                for name, values in known.factors.items()
            },
        )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def groupings(self) -> list[tuple[str | None, ...]]:
        """Name of the group of each bag, by each of several groups (``scanner=GE``) or by the one."""
        return groupings(self.groups, self.factors)

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
    stated = {value for value in values if value is not None and value != unknown}
    if len(stated) > 1:
        one, other, *_ = sorted(map(str, stated))
        raise InputError(f"bag {bag!r} has two values of {column}: {one} and {other}; a bag has one")
    return stated.pop() if stated else None


def _common(values: Sequence[str | None]) -> str | None:
    stated = {value for value in values if value is not None}
    return stated.pop() if len(stated) == 1 else None


def bag_figures(bags: BagTable) -> dict[str, CheckFigure]:
    """Area, accuracy, sensitivity and specificity over the bags of known label, by name; n counts bags.

    Of one class only, there is no area, and the figure of the other class is missing.
    """
    kept = bags.labelled
    if not kept.any():
        return {}
    found = {"accuracy": _share(bags.correct[kept], bags.units_of(kept))}
    positive, negative = kept & bags.truth, kept & ~bags.truth
    if positive.any() and negative.any():
        found = {"auroc": _area(bags.truth[kept], bags.scores[kept], bags.units_of(kept)), **found}
    if positive.any():
        found["sensitivity"] = _share(bags.correct[positive], bags.units_of(positive))
    if negative.any():
        found["specificity"] = _share(bags.correct[negative], bags.units_of(negative))
    return found


def instance_figures(bags: BagTable, known: PerImage) -> dict[str, CheckFigure]:
    """What is known of single images, by name; n counts images, units are those of their bags.

    =========================  ========================================================================================
    ``instance_auroc``         area of the probability of the positive class over images with labels of their own
    ``positives_found``        share of the positive images that are called positive
    ``false_in_negative_bags`` share of the images of negative bags that are called positive: none of them is, with any
    labels of single images =========================
    ========================================================================================
    """
    placed = bags.of_image >= 0
    units = np.where(placed, bags.unit_codes[bags.of_image], -1)
    called = known.predictions == bags.positive
    labelled = placed & known.labelled
    positive = labelled & (known.labels == bags.positive)
    found = {}
    if positive.any() and (labelled & ~positive).any():
        area = _area(positive[labelled], bags.probabilities[labelled], units[labelled])
        found["instance_auroc"] = area
    if positive.any():
        found["positives_found"] = _share(called[positive], units[positive])
    healthy = placed & (bags.labelled & ~bags.truth)[bags.of_image]
    if healthy.any():
        found["false_in_negative_bags"] = _share(called[healthy], units[healthy])
    return found


def _share(right: NDArray[np.bool_], units: NDArray[np.int64] | None) -> CheckFigure:
    low, high = clustered_share(right, units)
    return CheckFigure(value=float(right.mean()), low=low, high=high, n=len(right))


def _area(truth: NDArray[np.bool_], scores: NDArray[np.float64], units: NDArray[np.int64] | None) -> CheckFigure:
    low, high = macro_auroc_interval(truth.astype(np.int64), np.stack([-scores, scores], axis=1), units)
    return CheckFigure(value=auroc(truth, scores), low=low, high=high, n=len(truth))


@dataclass(frozen=True)
class WholeBag:
    """A bag of the image set, whether or not its images could be used.

    Attributes:
        images: how many it has.
        label: its class; None where unknown.
        unit: its patient; None where unknown.
        group: of its first image that has one.
    """

    images: int
    label: int | None
    unit: str | None
    group: str | None


def whole_bags(images: ImageSet) -> dict[str, WholeBag]:
    """The bags of a set by id, in the order in which their first images come.

    Raises:
        InputError: a bag of two labels or two units.
    """
    labels, units, groups = (images.column(name) for name in (BAG_LABEL, "unit_id", GROUP))
    found = {}
    for bag, rows in rows_of([None if bag is None else str(bag) for bag in images.column(BAG)]).items():
        label = one_each(bag, BAG_LABEL, [None if labels[row] is None else int(str(labels[row])) for row in rows], -1)
        unit = one_each(bag, "unit_id", [None if units[row] is None else str(units[row]) for row in rows])
        group = next((str(groups[row]) for row in rows if groups[row] is not None), None)
        found[bag] = WholeBag(len(rows), label, unit, group)
    return found


def bag_rows(
    bags: BagTable, known: PerImage, whole: dict[str, WholeBag], names: tuple[str, ...]
) -> list[dict[str, object]]:
    """What becomes ``lists/bags.json``: a row for each bag, worst first, then the right ones, then those without score.

    A bag without a usable image has no score, no decision, and 0 images used.
    """
    place_of = {bag: place for place, bag in enumerate(bags.ids)}
    rows = []
    for bag, about in whole.items():
        row: dict[str, object] = {
            "id": bag,
            "unit": about.unit,
            "group": about.group,
            "label": None if about.label is None else names[about.label],
            "images": about.images,
            "used": 0,
            "score": None,
            "called_positive": None,
            "right": None,
        }
        if bag in place_of:
            row |= _scored(place_of[bag], bags, known)
        rows.append(row)
    return sorted(rows, key=lambda row: _order(row, bags.threshold))


def contradictions(
    bags: BagTable, known: PerImage, whole: dict[str, WholeBag], names: tuple[str, ...], examples: int
) -> Finding | None:
    """Negative bags with images labelled positive, and positive bags with every image labelled negative.

    Counted, not inferred: harm is the share of the labelled bags. A positive bag counts only where all of its images
    could be used and have labels: the positive one may be among the others.
    """
    name, found = names[bags.positive], list[tuple[int, int, str]]()
    for place in np.flatnonzero(bags.labelled).tolist():
        rows = bags.members[place]
        positive = rows[known.labels[rows] == bags.positive]
        if not bags.truth[place] and len(positive):
            found.append((place, int(positive[0]), f"labelled {name}, in bag {bags.ids[place]}, which is not"))
        complete = len(rows) == whole[bags.ids[place]].images and bool(known.labelled[rows].all())
        if bags.truth[place] and complete and not len(positive):
            found.append((place, int(bags.strongest[place]), f"in {name} bag {bags.ids[place]}, with no such image"))
    if not found:
        return None
    healthy = sum(not bags.truth[place] for place, _, _ in found)
    count, all_of = len(found), int(bags.labelled.sum())
    return Finding(
        kind="bag_contradiction",
        harm=count / all_of,
        title=f"{count} of {all_of} bags {'has' if count == 1 else 'have'} a label that their images contradict",
        facts={"bags": all_of, f"not_{name}_but_with_such_images": healthy, f"{name}_without": count - healthy},
        examples=tuple(
            FindingExample(example_id=known.ids[row], caption=caption) for _, row, caption in found[:examples]
        ),
        treatments=("correct the column bag_label, or the labels of the images: see lists/bags.json",),
    )


def _scored(place: int, bags: BagTable, known: PerImage) -> dict[str, object]:
    rows = bags.members[place]
    labelled = bool(bags.labelled[place])
    row: dict[str, object] = {
        "used": len(rows),
        "score": round(float(bags.scores[place]), 6),
        "called_positive": bool(bags.called[place]),
        "right": bool(bags.correct[place]) if labelled else None,
        "strongest_image": known.ids[bags.strongest[place]],
        "its_probability": round(float(bags.probabilities[bags.strongest[place]]), 6),
        "images_called_positive": int((known.predictions[rows] == bags.positive).sum()),
    }
    if known.labelled[rows].any():
        positive = known.labels[rows] == bags.positive
        row["positive_images"] = int(positive.sum())
        row["positive_images_found"] = int((positive & (known.predictions[rows] == bags.positive)).sum())
    return row


def _order(row: dict[str, object], threshold: float) -> tuple[int, float, str]:
    score = row["score"]
    if not isinstance(score, float):
        return 3, 0.0, str(row["id"])
    rank = {False: 0, True: 1, None: 2}[row["right"] if isinstance(row["right"], bool) else None]
    # Wrong bags furthest from the threshold first.
    return rank, -abs(score - threshold), str(row["id"])
