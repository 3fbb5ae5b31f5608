"""The verb ``snellen.compare``: what got better and what got worse between two audits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from snellen.auditing.compare.acuity_differences import compare_acuities
from snellen.auditing.compare.better_side import direction
from snellen.auditing.compare.comparison import (
    MARGIN,
    ComparedAcuity,
    ComparedFigure,
    ComparedFinding,
    ComparedRun,
    Comparison,
    FindingVerdict,
    believed,
    figure_verdict,
    finding_verdict,
    unclear_among,
)
from snellen.auditing.compare.data_differences import compare_data_findings
from snellen.auditing.compare.difference import RESAMPLES, Difference
from snellen.auditing.compare.figures import FigureDifference, compare_figures
from snellen.auditing.compare.finding_differences import compare_quantities, unmeasurable
from snellen.auditing.compare.label_differences import label_figures, label_quantities, several
from snellen.auditing.compare.margins import parse_margins
from snellen.auditing.compare.not_worse import not_worse as judge_margins
from snellen.auditing.compare.pairing import Pair, pair_runs
from snellen.auditing.compare.run_record import RunRecord, record_of
from snellen.auditing.report import AuditReport
from snellen.core.errors import InputError
from snellen.core.finding import Finding

NOTES = (
    "Differences are second − first, with 95 % intervals over independent units. Verdicts are corrected for the number "
    "of differences that were tested together (Benjamini and Hochberg, 2.5 % for losses and 2.5 % for gains). Figures "
    "and findings are corrected apart. Where the two runs are equally good, anything is called worse in at most 5 % of "
    "comparisons, and a figure in at most 2.5 %.",
    "A finding is judged by the difference of the quantity behind it and not by its presence. For a class or group "
    "that is the gap to the others, which can grow because the others got better. Its own accuracy is among the "
    "figures.",
)

#: Figures that differ by less do so by the order in which they were summed, also within a head that was fitted.
ROUNDING = 1e-9

#: What got worse stands first.
ORDER: tuple[FindingVerdict, ...] = ("new", "worse", "unclear", "same", "better", "mended")


def compare(
    first: Path | str | AuditReport,
    second: Path | str | AuditReport,
    *,
    margin: float = MARGIN,
    not_worse_than: float | str | Sequence[str] | Mapping[str, float | str] | None = None,
) -> Comparison:
    """Compare two audits.

    Images are matched by id when both runs used the same data, to the byte; then every image is compared with itself.
    Else the runs are compared unpaired, and a note says so.

    Args:
        first: the earlier run: its directory, or the report of an audit that kept one.
        second: the later run.
        margin: a difference is called the same when its whole 95 % interval lies within ± this.
        not_worse_than: margin within which the accuracy (of a segmenter the mIoU, of several labels an image the share
            of right decisions) of the later run must be shown to be no worse, one-sided at 2.5 %: ``"1pt"`` or 0.01. Of
            other figures ``"METRIC=1pt"``, or a mapping of figures to margins. What came out is in ``not_worse`` of the
            result.

    Returns:
        All differences with verdicts.

    Raises:
        InputError: no finished audit in a directory, a report without one, or runs of other classes or tasks.
    """
    margins = parse_margins(not_worse_than)
    return compare_records(
        record_of(first, "first"), record_of(second, "second"), margin=margin, not_worse_than=margins
    )


def compare_records(
    first: RunRecord,
    second: RunRecord,
    *,
    margin: float = MARGIN,
    resamples: int = RESAMPLES,
    not_worse_than: Mapping[str, float] | None = None,
) -> Comparison:
    """The same of two runs that were read.

    Args:
        first: the earlier run.
        second: the later run.
        margin: of "same".
        resamples: of each bootstrap.
        not_worse_than: margins by figure.
    """
    if not (0 <= margin < math.inf):
        raise InputError(f"the margin is zero or more, got {margin}")
    pair = pair_runs(first, second)
    by_label = several(pair)
    figures = _figures((label_figures if by_label else compare_figures)(pair, resamples=resamples), margin)
    quantities = (label_quantities if by_label else compare_quantities)(pair, resamples=resamples)
    images = pair.second.images
    return Comparison(
        first=_run(first),
        second=_run(second),
        paired=pair.paired,
        shared=len(images),
        units=len(set(images.unit_ids)),
        margin=margin,
        tested={
            "figures": sum(one.p_value is not None and direction(one.name) != 0 for one in figures),
            "findings": len(quantities),
        },
        figures=tuple(figures),
        findings=tuple(_findings(pair, quantities, margin)),
        acuities=tuple(
            ComparedAcuity(
                name=one.name,
                first=one.first.value,
                second=one.second.value,
                first_censored=one.first.censored,
                second_censored=one.second.censored,
                difference=one.value,
                low=one.low,
                high=one.high,
                paired=one.paired,
            )
            for one in compare_acuities(pair, resamples=resamples)
        ),
        not_worse=judge_margins(pair, not_worse_than or {}, resamples=resamples),
        notes=(*NOTES, *pair.notes),
    )


def _run(record: RunRecord) -> ComparedRun:
    report = record.report
    return ComparedRun(
        model=str(report.model["name"]),
        identity=report.model.get("identity"),
        data=str(report.data["name"]),
        fingerprint=record.fingerprint,
        images=int(report.data["used"]),
        code=record.plan.get("versions", {}).get("snellen"),
    )


def _figures(found: list[FigureDifference], margin: float) -> list[ComparedFigure]:
    tested = [one for one in found if one.difference is not None and direction(one.name)]
    p_values = [
        (one.difference.fall, one.difference.rise)
        if direction(one.name) > 0
        else (one.difference.rise, one.difference.fall)
        for one in tested
        if one.difference is not None
    ]
    lost, gained = believed([loss for loss, _ in p_values], [gain for _, gain in p_values])
    decided = {one.name: flags for one, flags in zip(tested, zip(lost, gained, strict=True), strict=True)}
    return [_figure(one, decided.get(one.name), margin, len(tested)) for one in found]


def _figure(one: FigureDifference, decided: tuple[bool, bool] | None, margin: float, tested: int) -> ComparedFigure:
    difference = one.difference
    if difference is None:
        return ComparedFigure(
            name=one.name,
            first=None if one.first is None else one.first.value,
            second=None if one.second is None else one.second.value,
            verdict="not compared",
            reason=one.reason,
        )
    if decided is None:
        return ComparedFigure(
            name=one.name,
            first=difference.first,
            second=difference.second,
            difference=difference.value,
            n=difference.n,
            verdict="same" if abs(difference.value) < ROUNDING else "not compared",
            reason=one.reason,
        )
    verdict = figure_verdict(difference, lost=decided[0], gained=decided[1], margin=margin)
    return ComparedFigure(
        name=one.name,
        first=difference.first,
        second=difference.second,
        **_ends(difference),
        n=difference.n,
        paired=difference.paired,
        verdict=verdict,
        reason=_joined(one.reason, unclear_among(verdict, difference, tested)),
    )


def _findings(pair: Pair, quantities: dict[str, Difference], margin: float) -> list[ComparedFinding]:
    before = {finding.key: finding for finding in pair.first.record.report.findings}
    after = {finding.key: finding for finding in pair.second.record.report.findings}
    differences = list(quantities.values())
    lost, gained = believed([one.rise for one in differences], [one.fall for one in differences])
    decided = dict(zip(quantities, zip(lost, gained, strict=True), strict=True))
    of_data = compare_data_findings(pair)
    found = []
    for key in dict.fromkeys((*after, *before)):
        earlier, later = before.get(key), after.get(key)
        difference = quantities.get(key)
        flags = decided.get(key, (False, False))
        verdict = finding_verdict(
            difference,
            before=earlier is not None,
            after=later is not None,
            lost=flags[0],
            gained=flags[1],
            margin=margin,
        )
        reason = None
        if difference is not None:
            reason = _joined(difference.remark, unclear_among(verdict, difference, len(quantities)))
        elif key in of_data:
            verdict, reason = of_data[key].verdict, of_data[key].reason
        else:
            if earlier == later:
                verdict = "same"
            else:
                reason = unmeasurable(later or before[key], pair)
        found.append(_finding(key, earlier, later, difference, verdict, reason))
    return sorted(found, key=lambda one: (ORDER.index(one.verdict), -max(one.first_harm or 0, one.second_harm or 0)))


def _finding(
    key: str,
    earlier: Finding | None,
    later: Finding | None,
    difference: Difference | None,
    verdict: FindingVerdict,
    reason: str | None,
) -> ComparedFinding:
    shown = later or earlier
    assert shown is not None
    return ComparedFinding(
        key=key,
        title=shown.title,
        first_harm=None if earlier is None else earlier.harm,
        second_harm=None if later is None else later.harm,
        first_level=None if earlier is None else earlier.level,
        second_level=None if later is None else later.level,
        **({} if difference is None else _ends(difference)),
        paired=difference is not None and difference.paired,
        verdict=verdict,
        reason=reason,
    )


def _joined(*reasons: str | None) -> str | None:
    return "; ".join(one for one in reasons if one) or None


def _ends(difference: Difference) -> dict[str, float | None]:
    low, high = (end if math.isfinite(end) else None for end in (difference.low, difference.high))
    return {"difference": difference.value, "low": low, "high": high, "p_value": difference.p_value}
