"""One finding, on images other than those it was found on: what measures it there, and whether it is found there.

Findings are known by kind and subject, which are the same on any images. A slice is not: it is named by the images in
it, and the audit of other images finds slices of its own. There, the slice that loses most stands for it. And the same
labels are as wrong after a treatment as before: what can be less is the harm that they did, which is error.
"""

from __future__ import annotations

from collections.abc import Mapping

from snellen.auditing.compare.difference import Difference
from snellen.auditing.compare.run_record import RunRecord
from snellen.core.finding import Finding, Level

#: Kinds whose subjects say which images they are of.
OF_ITS_IMAGES = frozenset({"slice"})

#: Kinds of findings about the images, which no treatment of a classifier changes → what measures the harm that they do.
MEASURED_BY = {"label_noise": "accuracy"}


def quantity_of(finding: Finding, before: RunRecord, quantities: Mapping[str, Difference]) -> Difference | None:
    """The difference that measures a finding.

    Args:
        finding: of an audit of the same images, or of others.
        before: audit of the classifier as it was, on the images of the differences.
        quantities: differences on these images, by key.

    Returns:
        That of its key; of a slice, that of the slice before the treatment with the largest gap; of wrong labels, that
        of the error. None: it is not measured there.
    """
    if finding.kind in MEASURED_BY:
        return quantities.get(MEASURED_BY[finding.kind])
    if finding.key in quantities or finding.kind not in OF_ITS_IMAGES:
        return quantities.get(finding.key)
    names = {name for row in before.lists.get("slices", ()) for name in row.get("slices", ())}
    there = [quantities[key] for name in names if (key := f"{finding.kind}:{name}") in quantities]
    return max(there, key=lambda one: one.first, default=None)


def found_again(finding: Finding, record: RunRecord) -> Finding | None:
    """The same finding in an audit of other images; of a slice, the slice there with the largest harm."""
    found = record.report.findings
    known = next((one for one in found if one.key == finding.key), None)
    if known is not None or finding.kind not in OF_ITS_IMAGES:
        return known
    return max((one for one in found if one.kind == finding.kind), key=lambda one: one.harm, default=None)


def harm_of(finding: Finding, record: RunRecord) -> float | None:
    """Its harm in an audit of other images; None where it is not found there."""
    found = found_again(finding, record)
    return None if found is None else found.harm


def level_of(finding: Finding, record: RunRecord) -> Level | None:
    """Its level in an audit of other images; None where it is not found there."""
    found = found_again(finding, record)
    return None if found is None else found.level
