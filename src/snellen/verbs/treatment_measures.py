"""What each finding measures before and after a treatment, by which treatments are chosen and proven.

Findings are known by kind and subject, which are the same on any images. A slice is not: it is named by the images in
it, and the audit of other images finds slices of its own. There, the slice that loses most stands for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from snellen.auditing.audit import audit
from snellen.auditing.compare.difference import Difference, Mean, paired_difference
from snellen.auditing.compare.finding_differences import compare_quantities
from snellen.auditing.compare.label_differences import label_quantities, several
from snellen.auditing.compare.pairing import Pair, pair_runs
from snellen.auditing.compare.run_record import RunRecord
from snellen.checks.check import Check, Companion
from snellen.core.classifier import Classifier
from snellen.core.finding import Finding, Level
from snellen.core.images import ImageSet
from snellen.core.progress import Progress

#: Findings about the images, which no classifier changes: it is treated for what they cost, its error.
BY_ERROR = frozenset({"drift", "natural_shift"})

#: Kinds whose subjects say which images they are of.
OF_ITS_IMAGES = frozenset({"slice"})

#: The list of suspect labels of a run, and the kind of finding that it belongs to.
SUSPECTS = "label_noise"


def audit_again(
    classifier: Classifier,
    images: ImageSet,
    checks: Sequence[Check],
    companions: Mapping[Companion, ImageSet],
    folder: Path,
    *,
    seed: int,
    save_images: bool,
    progress: Progress | None,
) -> RunRecord:
    """Audit with the checks that found what is treated; a run that lies in the folder is resumed.

    Args:
        classifier: as it was, or treated.
        images: that judge it.
        checks: of the audit that is treated.
        companions: of that audit: checks that compare with training images need them.
        folder: run directory.
        seed: of everything random, the same for all classifiers.
        save_images: whether pictures may be kept.
        progress: who is shown how far it is.
    """
    audit(
        classifier,
        images,
        out=folder,
        checks=list(checks),
        seed=seed,
        allow_rejected=True,
        train=companions.get("train"),
        save_images=save_images,
        progress=progress,
    )
    return RunRecord.read(folder)


def measured(
    before: RunRecord, after: RunRecord, findings: Sequence[Finding], *, resamples: int
) -> dict[str, Difference]:
    """The difference of the quantity behind each finding, after less before, by key; lower is better.

    Of most findings that is what :func:`snellen.compare` compares them by. Wrong labels of the audited images stay what
    they are, so that a classifier which was trained on such labels is judged by its error on the images whose labels
    nothing speaks against; and shifted images stay shifted, so that it is judged by its error on them.

    Args:
        before: an audit of the classifier as it was.
        after: an audit of the treated one on the same images.
        findings: that were treated.
        resamples: of bootstraps.
    """
    pair = pair_runs(before, after)
    known = (label_quantities if several(pair) else compare_quantities)(pair, resamples=resamples)
    found = {}
    for finding in findings:
        key = finding.key
        if finding.kind == SUSPECTS:
            difference = _error_on_confirmed(pair)
            if difference is not None:
                found[key] = difference
        elif finding.kind in BY_ERROR and "accuracy" in known:
            found[key] = known["accuracy"]
        elif finding.kind in OF_ITS_IMAGES and key not in known:
            names = {str(name) for row in before.lists.get("slices", ()) for name in row.get("slices", ())}
            there = [known[one] for name in sorted(names) if (one := f"{finding.kind}:{name}") in known]
            if there:
                found[key] = max(there, key=lambda one: one.first)
        elif key in known:
            found[key] = known[key]
    return found


def clean_level(record: RunRecord) -> float:
    """How well clean images are decided: accuracy; of several labels an image, the mean of their balanced accuracies.

    Another threshold trades one kind of error for the other. Of a rare label most decisions are right where it is never
    given, so that the share of right decisions would speak against every lower threshold.
    """
    metrics = record.report.metrics
    if "clean.accuracy" in metrics:
        return metrics["clean.accuracy"].value
    names = (f"labels.{name}.balanced_accuracy" for name in record.class_names)
    return float(np.mean([metrics[name].value for name in names if name in metrics]))


def found_again(finding: Finding, record: RunRecord) -> Finding | None:
    """The same finding in an audit of other images; of a slice, the one there with the largest harm."""
    found = record.report.findings
    known = next((one for one in found if one.key == finding.key), None)
    if known is not None or finding.kind not in OF_ITS_IMAGES:
        return known
    return max((one for one in found if one.kind == finding.kind), key=lambda one: one.harm, default=None)


def left_of(finding: Finding, record: RunRecord) -> Finding | None:
    """The same finding in an audit of the treated classifier; None where it is gone.

    Another slice that is found there has other images, and is no rest of this one: the comparison names it as new.
    """
    return next((one for one in record.report.findings if one.key == finding.key), None)


def harm_of(finding: Finding, record: RunRecord) -> float | None:
    """Its harm in an audit of other images; None where it is not found there."""
    found = found_again(finding, record)
    return None if found is None else found.harm


def level_of(finding: Finding, record: RunRecord) -> Level | None:
    """Its level in an audit of other images; None where it is not found there.

    Of one that was treated although healthy classifiers lose as much, all harm counts.
    """
    return level_beside(finding, found_again(finding, record))


def level_beside(finding: Finding, found: Finding | None) -> Level | None:
    """The level of what was found in place of a finding, by the same measure; None for nothing."""
    if found is None:
        return None
    return found.whole_level if finding.level == "note" else found.level


def borne(finding: Finding) -> float:
    """Harm that may be left of it: the usual one, unless it was treated although it is no more than that."""
    return 0.0 if finding.level == "note" else finding.usual


def _error_on_confirmed(pair: Pair) -> Difference | None:
    """Error on the images whose labels the first run does not suspect; None where nothing is paired."""
    if not pair.paired:
        return None
    suspects = {str(row["id"]) for row in pair.first.record.lists.get(SUSPECTS, ())}
    kept = np.array([one not in suspects for one in pair.first.images.ids])
    if not kept.any():
        return None
    first, second = (Mean(1.0 - side.images.correct[kept].astype(np.float64)) for side in (pair.first, pair.second))
    return paired_difference(first, second, pair.first.images.units_of(kept))
