"""Runs' findings on their images and labels: copies, contradictions, wrong labels, drift from the training images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from snellen.auditing.compare.comparison import FindingVerdict
from snellen.auditing.compare.difference import (
    Difference,
    OfWeights,
    Units,
    paired_difference,
    unpaired_difference,
)
from snellen.auditing.compare.pairing import Pair, differing_parameters, same_set
from snellen.auditing.compare.run_record import RunRecord
from snellen.checks.per_image import PerImage
from snellen.core.errors import InputError
from snellen.core.finding import Finding
from snellen.metrics.inspection.column_drift import without_rounding
from snellen.metrics.inspection.unit_exchange import joined_units
from snellen.metrics.weighted import WeightedStatistic, weighted_kolmogorov_distance, weighted_total_variation

#: Check and fact of each kind that is counted and not tested; a contradiction is counted by its harm, a share of bags.
COUNTED = {
    "duplicate": ("duplicates", "surplus_images"),
    "leakage": ("leakage", "images"),
    "bag_contradiction": ("bags", ""),
}

#: The one finding of the check data_quality that is counted.
CONSTANT = "data_quality:constant images"

#: Why a model that was trained on the audited images is compared no further.
SEEN_BEFORE = (
    "whether a model was trained on these images is a fact of its training and no quantity that could fall. A model "
    "that continues from such weights has seen them, too"
)


@dataclass(frozen=True)
class DataChange:
    """What became of a finding about the images, and from what that is read."""

    verdict: FindingVerdict
    reason: str


def compare_data_findings(pair: Pair) -> dict[str, DataChange]:
    """What became of the findings of either run that are counted or are facts, and of suspect labels, by key.

    Counts are exact and need no test: fewer are better, and none is mended. Of other images a lower count
    means something only where the set did not become smaller by as many. The reason gives all counts.
    """
    ours, theirs = ({one.key: one for one in side.record.report.findings} for side in (pair.first, pair.second))
    found = {}
    for key in dict.fromkeys((*ours, *theirs)):
        shown = ours.get(key) or theirs[key]
        reported_in_both = key in ours and key in theirs
        if shown.kind in COUNTED or key == CONSTANT:
            change = _counted(shown, ours.get(key), theirs.get(key), pair)
            if change is not None:
                found[key] = change
        elif shown.kind == "label_noise":
            found[key] = _labels(pair, reported_in_both=reported_in_both)
        elif shown.kind == "in_sample":
            same: FindingVerdict = "same" if reported_in_both and pair.paired else "unclear"
            found[key] = DataChange(same, SEEN_BEFORE)
    return found


def count_verdict(before: int, after: int) -> FindingVerdict:
    """What became of a finding that is counted; with a count of zero a run does not report it.

    >>> [count_verdict(*pair) for pair in ((3, 0), (3, 1), (3, 3), (3, 5), (0, 5))]
    ['mended', 'better', 'same', 'worse', 'new']
    """
    if after == before:
        return "same"
    if after < before:
        return "better" if after else "mended"
    return "worse" if before else "new"


def _counted(shown: Finding, before: Finding | None, after: Finding | None, pair: Pair) -> DataChange | None:
    """None where either run did not count, or counted otherwise."""
    check, fact = COUNTED.get(shown.kind, ("data_quality", "images"))
    records = pair.first.record, pair.second.record
    if check in differing_parameters(*records) or not all(check in record.parameters for record in records):
        return None
    if fact:
        counts = [0 if one is None else int(one.facts[fact]) for one in (before, after)]
        sizes, what = [int(record.report.data["used"]) for record in records], "images"
    else:
        counts = [0 if one is None else round(one.harm * int(one.facts["bags"])) for one in (before, after)]
        sizes, what = [_labelled_bags(record) for record in records], "bags"
    words = f"counted: {counts[0]} of {sizes[0]} {what}, then {counts[1]} of {sizes[1]}"
    verdict = count_verdict(*counts)
    if not pair.paired:
        words += "; the data differ"
        # Copies that are taken out make the set smaller by themselves, and by no more.
        if abs(sizes[1] - sizes[0]) > abs(counts[1] - counts[0]) and (
            (counts[1] < counts[0] and sizes[1] < sizes[0]) or (counts[1] > counts[0] and sizes[1] > sizes[0])
        ):
            verdict, words = "unclear", f"{words}, and the number of {what} explains the change"
    if shown.kind == "leakage" and not same_set(*records, "train"):
        words += "; the training images differ"
    if pair.paired and shown.subject.startswith("near") and counts[0] != counts[1]:
        words += "; near copies are confirmed in the features of each model"
    return DataChange(verdict, words)


def _labelled_bags(record: RunRecord) -> int:
    bags = {bag for bag, label in zip(record.images.bags, _bag_labels(record), strict=True) if bag and label >= 0}
    return len(bags)


def _bag_labels(record: RunRecord) -> list[int]:
    labels = record.images.bag_labels
    return [-1] * len(record.images) if labels is None else labels.tolist()


#: Share of wrong labels, whose upper end is 1 where it is bounded from below only.
ONE_SIDED = "label_noise.share"


def _labels(pair: Pair, *, reported_in_both: bool) -> DataChange:
    if pair.paired and not pair.relabelled:
        return DataChange(
            "same" if reported_in_both else "unclear",
            "both runs have the same labels; only the model that judges them can have changed",
        )
    shares = [side.record.report.metrics.get(ONE_SIDED) for side in (pair.first, pair.second)]
    values = " and ".join("not measured" if one is None else f"{one.value:.1%}" for one in shares)
    what = f"{pair.relabelled} labels differ" if pair.paired else "the data differ"
    return DataChange(
        "unclear",
        f"{what}: shares of wrong labels {values}, and {ONE_SIDED} is not bounded from both sides in both runs",
    )


def compare_columns(pair: Pair, *, resamples: int) -> dict[str, Difference]:
    """How far single properties, and the shares of classes, differ between training and audited images, by key.

    The distance of the distributions of a property (Kolmogorov and Smirnov), and that of the shares of classes (total
    variation), as the check measures them. Images are paired where both sets are the same in both runs.

    Args:
        pair: the two runs.
        resamples: of each bootstrap.
    """
    records = pair.first.record, pair.second.record
    if not all("drift" in record.parameters for record in records):
        return {}
    sets = [_both_sets(record, pair.first.record.class_names) for record in records]
    if sets[0] is None or sets[1] is None:
        return {}
    paired = pair.paired and same_set(*records, "train")
    if paired:
        shared = [sorted({*ours.ids} & {*theirs.ids}) for ours, theirs in zip(sets[0], sets[1], strict=True)]
        sets = [[_of_ids(known, ids) for known, ids in zip(one, shared, strict=True)] for one in sets if one]
    columns = [_columns(*one) for one in sets if one]
    found = {}
    for name in columns[0]:
        if name not in columns[1]:
            continue
        first, second = columns[0][name], columns[1][name]
        difference = _column_difference(first, second, paired=paired, resamples=resamples)
        if difference is not None:
            found[f"drift:{name}"] = difference
    return found


@dataclass(frozen=True, eq=False)
class _Column:
    """Values of the training images, of the audited ones, and the distance between them by weights of all."""

    parts: tuple[NDArray[np.float64], NDArray[np.float64]]
    units: tuple[Units, Units]
    distance: Callable[[NDArray[np.float64], NDArray[np.float64]], WeightedStatistic]

    def same(self, other: _Column) -> bool:
        """Whether not one value differs."""
        return all(np.array_equal(ours, theirs) for ours, theirs in zip(self.parts, other.parts, strict=True))

    def estimate(self, resamples: int) -> OfWeights:
        """The distance, as a function of weights."""
        return OfWeights(self.distance(*self.parts), sum(map(len, self.parts)), resamples)

    def codes(self) -> NDArray[np.int64]:
        """Of the units of all, those of either set apart."""
        return joined_units(len(self.parts[0]), len(self.parts[1]), *self.units)[0]


def _column_difference(first: _Column, second: _Column, *, paired: bool, resamples: int) -> Difference | None:
    try:
        codes = first.codes(), second.codes()
    except InputError:  # fewer than two units in a set
        return None
    ours, theirs = first.estimate(resamples), second.estimate(resamples)
    if paired and first.same(second):
        value = ours.value
        return Difference(value, value, 0.0, 0.0, rise=1.0, fall=1.0, paired=True, identical=True, n=ours.n)
    if paired and ours.n == theirs.n and np.array_equal(*codes):
        return paired_difference(ours, theirs, codes[0])
    remark = "not paired: training or audited images differ"
    return replace(unpaired_difference(ours, theirs, *codes), remark=remark)


def _both_sets(record: RunRecord, class_names: tuple[str, ...]) -> list[PerImage] | None:
    """Training and audited images by ascending id, labels in the given order of classes; None without the former."""
    if record.training is None:
        return None
    place = np.array([*(class_names.index(name) for name in record.class_names), -1], dtype=np.int64)
    return [
        replace(known, labels=place[known.labels])
        for known in (_of_ids(one, sorted(one.ids)) for one in (record.training, record.images))
    ]


def _of_ids(known: PerImage, ids: Sequence[str]) -> PerImage:
    places = {key: row for row, key in enumerate(known.ids)}
    return known.select(np.array([places[key] for key in ids], dtype=np.int64))


def _columns(training: PerImage, audited: PerImage) -> dict[str, _Column]:
    """By name, as findings name them."""
    found = {}
    if training.properties is not None and audited.properties is not None:
        theirs = audited.properties.by_name()
        for name, values in training.properties.by_name().items():
            before, after, _ = without_rounding(values.astype(np.float64), theirs[name].astype(np.float64))
            found[name] = _Column((before, after), (training.units, audited.units), weighted_kolmogorov_distance)
    kept = training.labelled, audited.labelled
    if kept[0].any() and kept[1].any():
        labels = training.labels[kept[0]].astype(np.float64), audited.labels[kept[1]].astype(np.float64)
        units = training.units_of(kept[0]), audited.units_of(kept[1])
        found["labels"] = _Column(labels, units, weighted_total_variation)
    return found
