"""What each finding is about, measured again in both runs wherever it was told, and what runs say of their images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snellen.auditing.compare.bag_differences import BAGS, BagPair, compare_bag_findings
from snellen.auditing.compare.comparison import FindingVerdict
from snellen.auditing.compare.difference import (
    Difference,
    Estimate,
    FromInterval,
    Gap,
    Mean,
    OfWeights,
    Units,
    paired_difference,
    unpaired_difference,
)
from snellen.auditing.compare.figures import mean_right, right_under
from snellen.auditing.compare.pairing import Pair, Side, absence, differing_parameters
from snellen.auditing.compare.run_record import RunRecord
from snellen.core import index
from snellen.core.finding import Finding
from snellen.metrics.inspection.quality import quality_issues
from snellen.metrics.weighted import weighted_calibration_error

#: Check and fact of each kind that is counted and not tested.
COUNTED = {"duplicate": ("duplicates", "surplus_images"), "leakage": ("leakage", "images")}

#: The one finding of the check data_quality that is counted.
CONSTANT = "data_quality:constant images"


@dataclass(frozen=True)
class DataChange:
    """What became of a finding about the images, and from what that is read."""

    verdict: FindingVerdict
    reason: str


def compare_data_findings(pair: Pair) -> dict[str, DataChange]:
    """What became of the findings of either run that are counted, and of suspect labels, by key.

    Counts are exact and need no test: fewer are better, and none is mended. Of other images a lower count tells
    something only where it is not that of a smaller set, and the reason says what was counted where.
    """
    ours, theirs = ({one.key: one for one in side.record.report.findings} for side in (pair.first, pair.second))
    found = {}
    for key in dict.fromkeys((*ours, *theirs)):
        shown = ours.get(key) or theirs[key]
        if shown.kind in COUNTED or key == CONSTANT:
            change = _counted(shown, ours.get(key), theirs.get(key), pair)
            if change is not None:
                found[key] = change
        elif shown.kind == "label_noise":
            found[key] = _labels(pair, told_in_both=key in ours and key in theirs)
    return found


def count_verdict(before: int, after: int) -> FindingVerdict:
    """The word for a count; zero is a finding that is not told.

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
    counts = [0 if one is None else int(one.facts[fact]) for one in (before, after)]
    sizes = [int(record.report.data["used"]) for record in records]
    told = f"counted: {counts[0]} of {sizes[0]} images, then {counts[1]} of {sizes[1]}"
    verdict = count_verdict(*counts)
    if not pair.paired:
        told += "; the data differ"
        # Copies that are taken out make the set smaller by themselves, and by no more.
        if abs(sizes[1] - sizes[0]) > abs(counts[1] - counts[0]) and (
            (counts[1] < counts[0] and sizes[1] < sizes[0]) or (counts[1] > counts[0] and sizes[1] > sizes[0])
        ):
            verdict, told = "unclear", f"{told}, and the number of images explains the change"
    if shown.kind == "leakage" and _companion(records[0], "train") != _companion(records[1], "train"):
        told += "; the training images differ"
    if pair.paired and shown.subject.startswith("near") and counts[0] != counts[1]:
        told += "; near copies are confirmed in the features of each model"
    return DataChange(verdict, told)


def _labels(pair: Pair, *, told_in_both: bool) -> DataChange:
    if pair.paired:
        return DataChange(
            "same" if told_in_both else "unclear",
            "both runs have the same labels; only the model that judges them can have changed",
        )
    return DataChange(
        "unclear",
        "the data differ, and label_noise.share is not bounded from both sides in both runs",
    )


def _companion(record: RunRecord, name: str) -> str | None:
    return record.plan.get("companions", {}).get(name, {}).get("fingerprint")


#: A gap of one side, and the units of the images that it is of.
Placed = tuple[Gap, Units]


def compare_groups(pair: Pair) -> dict[str, Difference]:
    """Error of each group less that of the other groups, by key; images without a group count nowhere."""
    names = [{name for name in side.images.groups if name is not None} for side in (pair.first, pair.second)]
    found = {}
    for name in sorted(names[0] & names[1]):
        members = [np.array([group == name for group in side.images.groups]) for side in (pair.first, pair.second)]
        difference = _placed_difference(pair, members, [_grouped(side) for side in (pair.first, pair.second)])
        if difference is not None:
            found[f"group_gap:{name}"] = difference
    return found


def compare_troubles(pair: Pair) -> dict[str, Difference]:
    """Error of the images of each trouble less that of the rest, by key.

    The trouble is one of the prepared pixels and found again in the evidence. On the same images those count that have
    it in either run, since models may prepare images otherwise.
    """
    sides = pair.first, pair.second
    if not all("data_quality" in side.record.parameters for side in sides):
        return {}
    flagged = [_troubled(side) for side in sides]
    found = {}
    for name in sorted(flagged[0].keys() | flagged[1].keys()):
        members = [
            flags.get(name, np.zeros(len(side.images), dtype=bool)) for flags, side in zip(flagged, sides, strict=True)
        ]
        if pair.paired:
            members = [members[0] | members[1]] * 2
        difference = _placed_difference(pair, members, [side.images.labelled for side in sides])
        if difference is not None:
            found[f"data_quality:{name}"] = difference
    return found


def _placed_difference(
    pair: Pair, members: Sequence[NDArray[np.bool_]], kept: Sequence[NDArray[np.bool_]]
) -> Difference | None:
    sides = pair.first, pair.second
    if pair.paired and np.array_equal(members[0], members[1]):
        kept = [kept[0] & kept[1]] * 2
        paired = True
    else:
        paired = False
    gaps = [_gap(*one) for one in zip(sides, members, kept, strict=True)]
    if gaps[0] is None or gaps[1] is None:
        return None
    (first, first_units), (second, second_units) = gaps[0], gaps[1]
    if paired:
        return paired_difference(first, second, first_units)
    return unpaired_difference(first, second, first_units, second_units)


def _gap(side: Side, member: NDArray[np.bool_], kept: NDArray[np.bool_]) -> Placed | None:
    inside = member[kept]
    if not inside.any() or inside.all():
        return None
    return Gap(1.0 - side.images.correct[kept].astype(np.float64), inside), side.images.units_of(kept)


def _grouped(side: Side) -> NDArray[np.bool_]:
    return np.array([group is not None for group in side.images.groups], dtype=bool)


def _troubled(side: Side) -> dict[str, NDArray[np.bool_]]:
    """Which of the compared images have each trouble, (n,): rules are relative to all images of the run."""
    properties = side.record.images.properties
    if properties is None:
        return {}
    found: dict[str, NDArray[np.bool_]] = {}
    for issue in quality_issues(properties):
        flags = np.zeros(len(side.record.images), dtype=bool)
        flags[issue.indices] = True
        found[issue.name] = flags[side.rows]
    return found


#: A figure whose upper end is 1 where it is bounded from below only.
ONE_SIDED = "label_noise.share"

#: What each kind lacks that both runs measured.
LACKS = {
    "slice": "each run seeks its own slices, and the images of a slice are not kept",
    "drift": "only the drift of the features has an interval (drift.auroc)",
    "bag_evidence": "each run finds other bags",
    "bag_contradiction": "it is one of the labels and not of the model",
    "bag_group_gap": "both runs have no such group of bags with the same bags inside and outside of it",
    "backdoor": "it has no test of a difference",
    "gradient_masking": "it has no test of a difference",
    "class_order": "figures of classes in another order are not those of the same classes",
    "multi_label": "it has no test of a difference",
    "group_gap": "the evidence of both runs has no such group with images inside and outside of it",
    "data_quality": "which images are meant depends on the features of each model, or on other images",
}


def compare_quantities(pair: Pair, *, resamples: int) -> dict[str, Difference]:
    """Difference of the quantity behind each finding that either run could have told, by key; a rise is worse.

    ========================  =========================================================================================
    ``accuracy``              error
    ``worst_class:NAME``      error of the class less that of the others
    ``group_gap:NAME``        error of the group less that of the others
    ``bag_accuracy``          error on bags
    ``missed_bags:NAME``      error on positive bags less that on the others; ``bag_false_alarms:NAME`` the other way
    ``bag_group_gap:NAME``    error on the bags of the group less that on the others
    ``corruption:KIND``       accuracy lost, on average over the severities
    ``adversarial:THREAT``    accuracy lost
    ``calibration``           expected calibration error
    ``data_quality:TROUBLE``  error of the images in trouble less that of the rest
    ``drift:features``        area that tells training and audited images apart, by the intervals of the reports
    ``label_noise``           share of wrong labels in other data, by the intervals of the reports
    of any other check        the figure that its row of the index names (``compared``), by the intervals of the reports
    ========================  =========================================================================================

    All of them are returned, so that all count in the correction for their number: a finding is looked at because it
    was told, and it was told because its quantity was large.
    """
    unlike = differing_parameters(pair.first.record, pair.second.record)
    found = {}
    if all(len(side.images) for side in _sides(pair)):
        found["accuracy"] = _difference(pair, *(_error(side) for side in _sides(pair)))
    for label, name in enumerate(pair.first.record.class_names):
        gaps = [_class_gap(side, label) for side in _sides(pair)]
        if gaps[0] is not None and gaps[1] is not None:
            found[f"worst_class:{name}"] = _difference(pair, gaps[0], gaps[1])
    found |= compare_groups(pair)
    if (bags := BagPair.of(pair)) is not None:
        found |= compare_bag_findings(bags, str(pair.first.record.parameters[BAGS]["positive"]))
    if "data_quality" not in unlike:
        found |= compare_troubles(pair)
    for check in index.checks().values():
        if check.name not in unlike:
            for kind, figure in check.figures.items():
                found |= _by_named_figure(kind, figure, pair)
    if "drift" not in unlike:
        found |= _by_intervals("drift:features", "drift.auroc", pair)
    # On the same data the labels are the same, whatever two models make of them.
    if "label_noise" not in unlike and not pair.paired:
        found |= _by_intervals("label_noise", ONE_SIDED, pair)
    if "corruption" not in unlike:
        found |= _corruptions(pair)
    if "adversarial" not in unlike:
        found |= _threats(pair)
    if "calibration" not in unlike and all("calibration" in side.record.parameters for side in _sides(pair)):
        errors = [_calibration(side, resamples) for side in _sides(pair)]
        if errors[0] is not None and errors[1] is not None:
            found["calibration"] = _difference(pair, errors[0], errors[1])
    return found


def _by_named_figure(kind: str, figure: str, pair: Pair) -> dict[str, Difference]:
    """Findings of a check by the figure that its row of the index names."""
    start, named, end = figure.partition("{name}")
    if not named:
        return _by_intervals(kind, figure, pair)
    found: dict[str, Difference] = {}
    for name in _measured_between(pair, start, end):
        found |= _by_intervals(f"{kind}:{name}", f"{start}{name}{end}", pair)
    return found


def unmeasurable(finding: Finding, pair: Pair) -> str:
    """Why nothing can be said about a finding that has no difference."""
    check = next((check.name for check in index.checks().values() if finding.kind in check.finds), None)
    if check is None:
        return f"findings of the kind {finding.kind} have no test of a difference"
    for side, which in ((pair.first, "first"), (pair.second, "second")):
        if check not in side.record.parameters:
            return absence(check, side.record, which)
    unlike = differing_parameters(pair.first.record, pair.second.record).get(check)
    if unlike is not None:
        return unlike
    if finding.kind in LACKS:
        return LACKS[finding.kind]
    return f"{finding.subject or finding.kind} was not measured in both runs under the same conditions"


def _sides(pair: Pair) -> tuple[Side, Side]:
    return pair.first, pair.second


def _difference(pair: Pair, first: Estimate, second: Estimate) -> Difference:
    units = [side.images.units for side in _sides(pair)]
    if pair.paired:
        return paired_difference(first, second, units[0])
    return unpaired_difference(first, second, units[0], units[1])


def _error(side: Side) -> Mean:
    return Mean(1.0 - side.images.correct.astype(np.float64))


def _class_gap(side: Side, label: int) -> Gap | None:
    member = side.images.labels == label
    if not member.any() or member.all():
        return None
    return Gap(1.0 - side.images.correct.astype(np.float64), member)


def _drop(pair: Pair, rights: list[NDArray[np.float64]]) -> Difference | None:
    """Difference of what is lost of the clean accuracy."""
    masks = [~np.isnan(right) for right in rights]
    if pair.paired:
        masks = [masks[0] & masks[1]] * 2
    if not (masks[0].any() and masks[1].any()):
        return None
    drops, units = [], []
    for side, right, known in zip(_sides(pair), rights, masks, strict=True):
        drops.append(Mean(side.images.correct[known] - right[known]))
        units.append(side.images.units_of(known))
    if pair.paired:
        return paired_difference(drops[0], drops[1], units[0])
    return unpaired_difference(drops[0], drops[1], units[0], units[1])


def _corruptions(pair: Pair) -> dict[str, Difference]:
    if not all("corruption" in side.record.parameters for side in _sides(pair)):
        return {}
    severities = [sorted(side.record.parameters["corruption"]["severities"]) for side in _sides(pair)]
    if severities[0] != severities[1]:
        return {}
    found = {}
    for kind in _measured_between(pair, "corruption.", ".error"):
        drop = _drop(pair, [mean_right(side, kind) for side in _sides(pair)])
        if drop is not None:
            found[f"corruption:{kind}"] = drop
    return found


def _threats(pair: Pair) -> dict[str, Difference]:
    found = {}
    for label in _measured_between(pair, "adversarial.", ".accuracy"):
        if label.endswith(".fgsm"):
            continue
        drop = _drop(pair, [right_under(side, "adversarial", label) for side in _sides(pair)])
        if drop is not None:
            found[f"adversarial:{label}"] = drop
    return found


def _by_intervals(key: str, metric: str, pair: Pair) -> dict[str, Difference]:
    """Of a figure that both reports bound from both sides; a share of which only the lower end is known has none."""
    ours, theirs = (side.record.report.metrics.get(metric) for side in _sides(pair))
    if ours is None or theirs is None or (metric == ONE_SIDED and max(ours.high, theirs.high) >= 1):
        return {}
    return {key: unpaired_difference(FromInterval(ours), FromInterval(theirs), None, None)}


def _measured_between(pair: Pair, prefix: str, suffix: str) -> list[str]:
    """Middles of the names of metrics that both runs have."""
    ours, theirs = (side.record.report.metrics for side in _sides(pair))
    return [
        name.removeprefix(prefix).removesuffix(suffix)
        for name in ours
        if name in theirs and name.startswith(prefix) and name.endswith(suffix) and len(name) > len(prefix + suffix)
    ]


def _calibration(side: Side, resamples: int) -> OfWeights | None:
    images = side.images
    if images.confidence is None:
        return None
    bins = int(side.record.parameters["calibration"]["bins"])
    return OfWeights(weighted_calibration_error(images.confidence, images.correct, bins), len(images), resamples)
