"""What each finding is about, measured again in both runs, whichever of them reported it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from snellen.auditing.compare.bag_differences import BAGS, BagPair, compare_bag_findings
from snellen.auditing.compare.check_differences import (
    compare_masking,
    compare_second_classes,
    compare_stuck_searches,
)
from snellen.auditing.compare.data_differences import ONE_SIDED, compare_columns
from snellen.auditing.compare.difference import (
    Difference,
    Estimate,
    FromInterval,
    Gap,
    Mean,
    OfWeights,
    difference_of,
    unpaired_difference,
)
from snellen.auditing.compare.figures import mean_right, right_under
from snellen.auditing.compare.gap_differences import (
    compare_flagged_images,
    compare_groups,
    compare_slices,
)
from snellen.auditing.compare.listed_differences import compare_backdoors, listed_difference
from snellen.auditing.compare.pairing import Pair, Side, absence, differing_parameters, mean_difference
from snellen.auditing.compare.segment_differences import CHECK, overlap_quantities, segmenters
from snellen.core import index
from snellen.core.finding import Finding
from snellen.methods.corruptions.benchmarks import IMAGENET_C, OWN, benchmark
from snellen.metrics.weighted import weighted_calibration_error

#: Why a difference is not paired though the runs are.
FROM_REPORTS = "not paired: taken from the intervals of the reports"

#: Why a kind cannot be measured in both runs where it is not.
LACKS = {
    "slice": "a slice is one of the images of its run: it is compared on the same images, where both runs list slices",
    "drift": "the training images of both runs, or what the finding is about, are not in their evidence",
    "bag_evidence": "not one positive bag whose images all have labels is found in both runs",
    "bag_group_gap": "both runs have no such group of bags with bags inside and outside of it",
    "backdoor": "the other run tried no change towards this class. Audit it with --set backdoor.earlier=RUN, the "
    "directory of the run that found one, and the same change is tried on both models",
    "gradient_masking": "not one image that both models get right was attacked in both runs under this threat",
    "multi_label": "not one image was judged in both runs",
    "group_gap": "the evidence of both runs has no such group with images inside and outside of it",
    "coverage": "it is counted among the images of each run, and says nothing about the model",
    "data_quality": "not both runs have such images beside others",
}


def compare_quantities(pair: Pair, *, resamples: int) -> dict[str, Difference]:
    """Difference of the quantity behind each finding that either run could have reported, by key; a rise is worse.

    ========================  =========================================================================================
    ``accuracy``              error
    ``worst_class:NAME``      error of the class less that of the others
    ``group_gap:NAME``        error of the group less that of the others; of a pair of groups, of those in one of both
    ``bag_accuracy``          error on bags
    ``missed_bags:NAME``      error on positive bags less that on the others; ``bag_false_alarms:NAME`` the other way
    ``bag_group_gap:NAME``    error on the bags of the group less that on the others
    ``corruption:KIND``       accuracy lost, on average over the severities
    ``corruption:FAMILY``     the same, on average over the kinds of the family that both runs measured
    ``adversarial:THREAT``    accuracy lost
    ``calibration``           expected calibration error
    ``class_order``           error, where either run reported it; the same for ``unanswered_classes``
    ``slice:NAME``            error of the slice less that of the others, on the half that did not propose it
    ``data_quality:RULE``      error of the images that a rule flags less that of the rest
    ``bag_evidence:NAME``     share of the found positive bags whose strongest image is not positive
    ``gradient_masking``      share of the images on which a sign of masking is seen
    ``multi_label``           share of the images that show a second class
    ``backdoor:NAME``         share of the images that a recovered change sends to the class
    ``drift:features`` area that separates training and audited images, by the intervals of the reports
    ``drift:PROPERTY`` distance of the distributions; ``drift:labels`` that of the shares of classes ``label_noise``
    share of wrong labels where labels differ, by the intervals of the reports of any other check the figure that its
    row of the index names (``compared``), image by image where its list
                              has them, else by the intervals of the reports
    ========================  =========================================================================================

    All of them are returned, so that all count in the correction for their number: a finding is compared because it was
    reported, and it was reported because its quantity was large.
    """
    unlike = differing_parameters(pair.first.record, pair.second.record)
    if segmenters(pair):
        return {} if CHECK in unlike else overlap_quantities(pair, resamples=resamples)
    found = {}
    if all(len(side.images) for side in _sides(pair)):
        found["accuracy"] = _difference(pair, *(_error(side) for side in _sides(pair)))
    for label, name in enumerate(pair.first.record.class_names):
        gaps = [_class_gap(side, label) for side in _sides(pair)]
        if gaps[0] is not None and gaps[1] is not None:
            found[f"worst_class:{name}"] = _difference(pair, gaps[0], gaps[1])
    for kind in ("class_order", "unanswered_classes"):
        if "accuracy" in found and any(kind in _reported_kinds(side) for side in _sides(pair)):
            found[kind] = replace(found["accuracy"], remark="by the error of all images")
    found |= compare_groups(pair)
    if "slices" not in unlike:
        found |= compare_slices(pair)
    if (bags := BagPair.of(pair)) is not None:
        found |= compare_bag_findings(bags, str(pair.first.record.parameters[BAGS]["positive"]))
    if "data_quality" not in unlike:
        found |= compare_flagged_images(pair)
    for check in index.checks().values():
        if check.name not in unlike:
            for kind, figure in check.figures.items():
                found |= _by_named_figure(kind, figure, pair)
    if "drift" not in unlike:
        found |= _by_intervals("drift:features", "drift.auroc", pair)
        found |= compare_columns(pair, resamples=resamples)
    # The same labels are as wrong as they were, for any two models.
    if "label_noise" not in unlike and (pair.relabelled or not pair.paired):
        found |= _label_noise(pair)
    if "masking" not in unlike:
        found |= compare_masking(pair)
    if "multi_label" not in unlike:
        found |= compare_second_classes(pair)
    found |= compare_backdoors(pair)
    if "corruption" not in unlike:
        found |= _corruptions(pair)
    if "adversarial" not in unlike:
        found |= _threats(pair) | compare_stuck_searches(pair)
    if "calibration" not in unlike and all("calibration" in side.record.parameters for side in _sides(pair)):
        errors = [_calibration(side, resamples) for side in _sides(pair)]
        if errors[0] is not None and errors[1] is not None:
            found["calibration"] = _difference(pair, errors[0], errors[1])
    return found


def _by_named_figure(kind: str, figure: str, pair: Pair) -> dict[str, Difference]:
    """Findings of a check by the figure that its row of the index names."""
    start, named, end = figure.partition("{name}")
    if not named:
        return _by_list(kind, figure, pair)
    found: dict[str, Difference] = {}
    for name in _measured_between(pair, start, end):
        found |= _by_list(f"{kind}:{name}", f"{start}{name}{end}", pair)
    return found


def _by_list(key: str, metric: str, pair: Pair) -> dict[str, Difference]:
    """Of a figure of both reports: image by image where the list of the check has its values."""
    check, _, column = metric.partition(".")
    if not all(metric in side.record.report.metrics for side in _sides(pair)):
        return {}
    if metric == "clean.cost_saved" and not pair.same_costs:
        return {}
    found = listed_difference(pair, check, column)
    return _by_intervals(key, metric, pair) if found is None else {key: found}


def _label_noise(pair: Pair) -> dict[str, Difference]:
    """Share of wrong labels before and after, where labels differ."""
    found = _by_intervals("label_noise", ONE_SIDED, pair)
    if pair.relabelled:
        return {
            key: replace(
                one,
                remark=f"{pair.relabelled} labels differ: shares of wrong labels {one.first:.1%} and {one.second:.1%}, "
                f"{FROM_REPORTS}",
            )
            for key, one in found.items()
        }
    return found


def _reported_kinds(side: Side) -> set[str]:
    return {finding.kind for finding in side.record.report.findings}


def unmeasurable(finding: Finding, pair: Pair) -> str:
    """Why a finding has no difference."""
    checks = [check.name for check in index.checks().values() if finding.kind in check.finds]
    # Two checks report useless gradients; that one of them is missing is no reason where the other ran in both.
    check = next((one for one in checks if all(one in side.record.parameters for side in _sides(pair))), None)
    check = check or next(iter(checks), None)
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
    return difference_of(first, second, units, paired=pair.paired)


def _error(side: Side) -> Mean:
    return Mean(1.0 - side.images.correct.astype(np.float64))


def _class_gap(side: Side, label: int) -> Gap | None:
    member = side.images.labels == label
    if not member.any() or member.all():
        return None
    return Gap(1.0 - side.images.correct.astype(np.float64), member)


def _corruptions(pair: Pair) -> dict[str, Difference]:
    if not all("corruption" in side.record.parameters for side in _sides(pair)):
        return {}
    severities = [sorted(side.record.parameters["corruption"]["severities"]) for side in _sides(pair)]
    if severities[0] != severities[1]:
        return {}
    found, kinds = dict[str, Difference](), list[str]()
    for kind in _measured_between(pair, "corruption.", ".error"):
        kinds.append(kind)
        drop = mean_difference(pair, [side.images.correct - mean_right(side, kind) for side in _sides(pair)])
        if drop is not None:
            found[f"corruption:{kind}"] = drop
    parameters = [side.record.parameters["corruption"] for side in _sides(pair)]
    name = str(parameters[0].get("benchmark", IMAGENET_C))
    by_family = [one.get("families") if one.get("families") is not None else name in OWN for one in parameters]
    if not any(by_family):
        return found
    # Where findings are of families alone, kinds are not reported, and not counted among what was compared.
    found = {} if all(by_family) else found
    for family, members in benchmark(name).families.items():
        shared = [kind for kind in kinds if kind in members]
        if not shared:
            continue
        losses = [
            side.images.correct - np.mean([mean_right(side, kind) for kind in shared], axis=0) for side in _sides(pair)
        ]
        drop = mean_difference(pair, losses)
        if drop is not None:
            found[f"corruption:{family}"] = replace(drop, remark=f"on average over {', '.join(shared)}")
    return found


def _threats(pair: Pair) -> dict[str, Difference]:
    found = {}
    for label in _measured_between(pair, "adversarial.", ".accuracy"):
        if label.endswith(".fgsm"):
            continue
        rights = [right_under(side, "adversarial", label) for side in _sides(pair)]
        drop = mean_difference(
            pair, [side.images.correct - right for side, right in zip(_sides(pair), rights, strict=True)]
        )
        if drop is not None:
            found[f"adversarial:{label}"] = drop
    return found


def _by_intervals(key: str, metric: str, pair: Pair) -> dict[str, Difference]:
    """Of a figure that both reports bound from both sides; a share with a known lower end alone has none."""
    ours, theirs = (side.record.report.metrics.get(metric) for side in _sides(pair))
    if ours is None or theirs is None or (metric == ONE_SIDED and max(ours.high, theirs.high) >= 1):
        return {}
    return {
        key: replace(unpaired_difference(FromInterval(ours), FromInterval(theirs), None, None), remark=FROM_REPORTS)
    }


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
