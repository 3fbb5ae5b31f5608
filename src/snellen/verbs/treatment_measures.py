"""What each finding measures before and after a treatment, by which treatments are chosen and proven."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from snellen.auditing.compare.difference import Difference, Mean, paired_difference
from snellen.auditing.compare.finding_differences import compare_quantities
from snellen.auditing.compare.pairing import Pair, pair_runs
from snellen.auditing.compare.run_record import RunRecord
from snellen.core.finding import Finding

#: Findings about the images, which no classifier changes: it is treated for what they cost, its error.
BY_ERROR = frozenset({"drift", "natural_shift"})

#: The list of suspect labels of a run, and the kind of finding that it belongs to.
SUSPECTS = "label_noise"


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
    known = compare_quantities(pair, resamples=resamples)
    found = {}
    for finding in findings:
        key = finding.key
        if finding.kind == SUSPECTS:
            difference = _error_on_confirmed(pair)
            if difference is not None:
                found[key] = difference
        elif finding.kind in BY_ERROR and "accuracy" in known:
            found[key] = known["accuracy"]
        elif key in known:
            found[key] = known[key]
    return found


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
