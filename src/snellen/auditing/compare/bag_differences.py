"""Decisions on bags, such as slides, in both runs: the same bags paired, their patients as units."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from snellen.auditing.bag_hypotheses import found_for
from snellen.auditing.bag_table import BagTable
from snellen.auditing.compare.difference import (
    Difference,
    Estimate,
    Gap,
    Mean,
    OfWeights,
    Units,
    difference_of,
)
from snellen.auditing.compare.pairing import Pair, differing_parameters
from snellen.auditing.compare.run_record import RunRecord
from snellen.checks.per_image import PerImage
from snellen.metrics.weighted import weighted_auroc

#: Name of the check, and of the group of its figures.
BAGS = "bags"

#: Why the gap of a group is not paired though the runs are.
OTHER_BAGS = "not paired: other bags belong to it in the second run"


@dataclass(frozen=True, eq=False)
class Judged:
    """What a figure is computed from: n bags, or n images in bags, in one order.

    Attributes:
        truth: whether each is positive, bool (n,).
        scores: float64 (n,).
        called: whether each is called positive, bool (n,).
        groupings: name of the group of each, None where unknown; by each of several groups, or by the one.
        units: code of the patient of each, (n,); None when each is its own.
    """

    truth: NDArray[np.bool_]
    scores: NDArray[np.float64]
    called: NDArray[np.bool_]
    groupings: list[tuple[str | None, ...]]
    units: Units

    @property
    def wrong(self) -> NDArray[np.float64]:
        """1 where the decision is wrong, (n,)."""
        return (self.called != self.truth).astype(np.float64)

    def where(self, chosen: NDArray[np.bool_]) -> Judged:
        """Some of them, by mask (n,)."""
        rows = np.flatnonzero(chosen).tolist()
        units = None if self.units is None else self.units[chosen]
        groups = [tuple(one[row] for row in rows) for one in self.groupings]
        return Judged(self.truth[chosen], self.scores[chosen], self.called[chosen], groups, units)


@dataclass(frozen=True, eq=False)
class BagPair:
    """The bags of both runs; when paired, those that both runs scored, and of their images those that both used."""

    tables: tuple[BagTable, BagTable]
    images: tuple[PerImage, PerImage]
    paired: bool

    @classmethod
    def of(cls, pair: Pair) -> BagPair | None:
        """None where a run did not judge bags, or judged others, or not one labelled bag is left."""
        records = pair.first.record, pair.second.record
        if BAGS in differing_parameters(*records) or not all(BAGS in record.parameters for record in records):
            return None
        images = records[0].images, records[1].images
        if any(one.bag_labels is None for one in images):
            return None
        found = cls((_table(records[0]), _table(records[1])), images, pair.paired)
        return found if all(len(one.truth) for one in found.bags) else None

    @cached_property
    def bags(self) -> tuple[Judged, Judged]:
        """The labelled bags of both."""
        ids = [dict(zip(table.ids, range(len(table)), strict=True)) for table in self.tables]
        labelled = [[bag for bag in table.ids if table.labels[own[bag]] >= 0] for table, own in self._with(ids)]
        if self.paired:
            tables = [table for table, _ in self._with(ids)]
            both = [
                bag
                for bag in sorted(set(labelled[0]) & set(labelled[1]))
                # A bag of another label in the second run is compared nowhere, as an image is.
                if tables[0].truth[ids[0][bag]] == tables[1].truth[ids[1][bag]]
            ]
            labelled = [both, both]
        sides = []
        for (table, own), names in zip(self._with(ids), labelled, strict=True):
            rows = np.array([own[bag] for bag in names], dtype=np.int64)
            groups = [tuple(one[row] for row in rows) for one in table.groupings]
            codes = table.unit_codes[rows]
            units = None if len(np.unique(table.unit_codes)) == len(table) else codes
            sides.append(Judged(table.truth[rows], table.scores[rows], table.called[rows], groups, units))
        return sides[0], sides[1]

    @cached_property
    def instances(self) -> tuple[Judged, Judged]:
        """The labelled images in bags of both."""
        return self._images(lambda table, images: (table.of_image >= 0) & images.labelled)

    @cached_property
    def healthy(self) -> tuple[Judged, Judged]:
        """The images of negative bags of both: none is positive, with any labels of its own."""
        return self._images(
            lambda table, images: (table.of_image >= 0) & (table.labelled & ~table.truth)[table.of_image]
        )

    @cached_property
    def relabelled(self) -> set[str]:
        """Bags of images that are positive in one run and not in the other."""
        owners = [
            {
                images.ids[row]: table.ids[table.of_image[row]]
                for row in np.flatnonzero((table.of_image >= 0) & (images.labels == table.positive)).tolist()
            }
            for table, images in zip(self.tables, self.images, strict=True)
        ]
        return {bag for one, other in (owners, owners[::-1]) for key, bag in one.items() if key not in other}

    def _images(self, wanted: Callable[[BagTable, PerImage], NDArray[np.bool_]]) -> tuple[Judged, Judged]:
        rows_of = []
        for table, images in zip(self.tables, self.images, strict=True):
            rows_of.append({images.ids[row]: row for row in np.flatnonzero(wanted(table, images)).tolist()})
        both = None
        if self.paired:
            both = [
                key
                for key in sorted(rows_of[0].keys() & rows_of[1].keys())
                if self._positive(0, rows_of[0][key]) == self._positive(1, rows_of[1][key])
            ]
        sides = []
        for table, images, own in zip(self.tables, self.images, rows_of, strict=True):
            rows = np.array([own[key] for key in (own if both is None else both)], dtype=np.int64)
            sides.append(
                Judged(
                    truth=images.labels[rows] == table.positive,
                    scores=table.probabilities[rows],
                    called=images.predictions[rows] == table.positive,
                    groupings=[(None,) * len(rows)],
                    units=table.unit_codes[table.of_image[rows]],
                )
            )
        return sides[0], sides[1]

    def _positive(self, which: int, row: int) -> bool:
        """Whether an image of a run has the label of the positive class."""
        return bool(self.images[which].labels[row] == self.tables[which].positive)

    def _with(self, each: list[dict[str, int]]) -> list[tuple[BagTable, dict[str, int]]]:
        return list(zip(self.tables, each, strict=True))


def compare_bag_figure(name: str, bags: BagPair, resamples: int) -> Difference | None:
    """Difference of a figure that begins with ``bags.``; None for one that is not known, or that a run lacks."""
    last = name.rpartition(".")[2]
    sides = {"instance_auroc": "instances", "positives_found": "instances", "false_in_negative_bags": "healthy"}
    pair: tuple[Judged, Judged] = getattr(bags, sides.get(last, "bags"))
    if last in ("auroc", "instance_auroc"):
        return _difference(bags.paired, pair, lambda one: _area(one, resamples))
    if last == "accuracy":
        return _difference(bags.paired, pair, lambda one: Mean(1 - one.wrong))
    if last == "sensitivity":
        return _difference(bags.paired, _kept(pair, lambda one: one.truth), lambda one: Mean(1 - one.wrong))
    if last == "specificity":
        return _difference(bags.paired, _kept(pair, lambda one: ~one.truth), lambda one: Mean(1 - one.wrong))
    if last == "positives_found":
        return _difference(bags.paired, _kept(pair, lambda one: one.truth), _called)
    if last == "false_in_negative_bags":
        return _difference(bags.paired, pair, _called)
    return None


def compare_bag_findings(bags: BagPair, positive: str) -> dict[str, Difference]:
    """Difference of the quantity behind each finding on bags, by key; a rise is worse.

    Args:
        bags: of both runs.
        positive: name of the positive class.
    """
    pair = bags.bags
    found = {
        "bag_accuracy": _difference(bags.paired, pair, lambda one: Mean(one.wrong)),
        f"missed_bags:{positive}": _difference(bags.paired, pair, lambda one: _gap(one, one.truth)),
        f"bag_false_alarms:{positive}": _difference(bags.paired, pair, lambda one: _gap(one, ~one.truth)),
    }
    sets = [[set(groups) - {None} for groups in one.groupings] for one in pair]
    shared = {name for ours in sets[0] for name in ours} & {name for theirs in sets[1] for name in theirs}
    for name in sorted(str(one) for one in shared):
        grouped = _kept(pair, lambda one, name=name: _beside(one, name)[1])  # type: ignore[misc]
        member = [_beside(one, name)[0] for one in grouped]
        same = np.array_equal(member[0], member[1])
        gaps = [_gap(one, inside) for one, inside in zip(grouped, member, strict=True)]
        gap = _difference_of(bags.paired and same, grouped, gaps[0], gaps[1])
        moved = gap is not None and bags.paired and not same
        found[f"bag_group_gap:{name}"] = replace(gap, remark=OTHER_BAGS) if gap is not None and moved else gap
    found[f"bag_evidence:{positive}"] = _evidence(bags)
    return {key: difference for key, difference in found.items() if difference is not None}


def _beside(judged: Judged, name: str) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Bags of a group, (n,), and all whose group is known where groups are named like this one, (n,)."""
    groups = next((one for one in judged.groupings if name in one), judged.groupings[0])
    return (
        np.array([group == name for group in groups], dtype=bool),
        np.array([group is not None for group in groups], dtype=bool),
    )


def _evidence(bags: BagPair) -> Difference | None:
    """Share of the found positive bags whose strongest image is not positive; on the same data, of those both find."""
    found = [
        {table.ids[place]: (not right, table.unit_codes[place]) for place, right in found_for(table, images).items()}
        for table, images in zip(bags.tables, bags.images, strict=True)
    ]
    names = [sorted(one) for one in found]
    if bags.paired:
        names = [sorted((found[0].keys() & found[1].keys()) - bags.relabelled)] * 2
    if not all(names):
        return None
    means = [Mean(np.array([float(one[bag][0]) for bag in of])) for one, of in zip(found, names, strict=True)]
    codes = [np.array([one[bag][1] for bag in of]) for one, of in zip(found, names, strict=True)]
    units = [None if len(np.unique(one)) == len(one) else one for one in codes]
    difference = difference_of(means[0], means[1], units, paired=bags.paired)
    words = f"of the {difference.n} positive bags that both runs find"
    return replace(difference, remark=words) if bags.paired else difference


def _table(record: RunRecord) -> BagTable:
    chosen = record.parameters[BAGS]
    return BagTable.of(
        record.images,
        positive=record.class_names.index(chosen["positive"]),
        pooling=chosen["pooling"],
        threshold=float(chosen["threshold"]),
    )


def _difference(
    paired: bool, pair: tuple[Judged, Judged], made_of: Callable[[Judged], Estimate | None]
) -> Difference | None:
    if not all(len(one.truth) for one in pair):
        return None
    return _difference_of(paired, pair, made_of(pair[0]), made_of(pair[1]))


def _difference_of(
    paired: bool, pair: tuple[Judged, Judged], first: Estimate | None, second: Estimate | None
) -> Difference | None:
    if first is None or second is None:
        return None
    return difference_of(first, second, [one.units for one in pair], paired=paired)


def _kept(pair: tuple[Judged, Judged], which: Callable[[Judged], NDArray[np.bool_]]) -> tuple[Judged, Judged]:
    return pair[0].where(which(pair[0])), pair[1].where(which(pair[1]))


def _area(one: Judged, resamples: int) -> OfWeights | None:
    if one.truth.all() or not one.truth.any():
        return None
    return OfWeights(weighted_auroc(one.truth, one.scores), len(one.truth), resamples)


def _called(one: Judged) -> Mean:
    return Mean(one.called.astype(np.float64))


def _gap(one: Judged, member: NDArray[np.bool_]) -> Gap | None:
    return Gap(one.wrong, member) if member.any() and not member.all() else None
