"""An audit as an assertion of a test: it fails with the requirement, the figure, its interval and the report."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from snellen.auditing.audit import audit
from snellen.auditing.compare.compare import compare_records
from snellen.auditing.compare.gate import Gate, gate
from snellen.auditing.compare.margins import parse_margins
from snellen.auditing.compare.requirement import at_level, parse_requirement
from snellen.auditing.compare.run_record import record_of
from snellen.auditing.report import AuditReport
from snellen.core.errors import InputError
from snellen.core.finding import Level
from snellen.runs.given import Images, Model


def assert_audit(
    model: Model,
    images: Images | None = None,
    *,
    require: str | Sequence[str] = (),
    fail_on: Level | None = None,
    baseline: Path | str | AuditReport | None = None,
    not_worse_than: str | Sequence[str] | None = None,
    out: Path | str | None = None,
    **options: Any,  # noqa: ANN401 - those of snellen.audit
) -> AuditReport:
    """Audit a model, and fail unless it meets what is required.

    Args:
        model: what :func:`snellen.audit` takes.
        images: the same.
        require: ``clean.accuracy>=0.9``, ``findings.severe<=0``, ``acuity.fog>=2``: what ``snellen audit --require``
            takes. The end of the 95 % interval that is harder to satisfy decides.
        fail_on: no finding of this level or worse.
        baseline: an earlier audit: no figure may be significantly worse.
        not_worse_than: margins to the baseline instead, such as ``"1pt"``: it must be shown to be no worse.
        out: run directory. None: the report of an audit that fails is kept in a new temporary folder; with a baseline,
            every run is.
        options: all others of :func:`snellen.audit`, such as ``checks``, ``effort``, ``limit`` and ``seed``.

    Returns:
        The report, where all is met.

    Raises:
        AssertionError: what is not met, one line each, and where the report is.
        InputError: nothing is required, or what :func:`snellen.audit` refuses.
    """
    __tracebackhide__ = True
    requirements = [parse_requirement(one) for one in ([require] if isinstance(require, str) else require)]
    requirements += [] if fail_on is None else [at_level(fail_on)]
    if not requirements and baseline is None:
        raise InputError(
            "nothing is required, so that this could never fail: give require=['clean.accuracy>=0.9'], "
            "fail_on='severe' or a baseline"
        )
    if not_worse_than is not None and baseline is None:
        raise InputError("not_worse_than is about an earlier audit: give its run directory as baseline")
    # What is wrong with the baseline or a margin is an error before the audit, and not after it.
    earlier, margins = None if baseline is None else record_of(baseline, "baseline"), parse_margins(not_worse_than)
    folder = _new_folder() if out is None and baseline is not None else out
    report = audit(model, images, out=folder, **options)
    compared = None
    if earlier is not None:
        compared = compare_records(earlier, record_of(report, "audited"), not_worse_than=margins)
    judged = gate(report, requirements, compared)
    if not judged.passes:
        raise AssertionError(_words(report, judged))
    return report


def _words(report: AuditReport, judged: Gate) -> str:
    """One line for each failure, and the file to open."""
    page = report.save(_new_folder()) if report.folder is None else report.folder / "report.html"
    what = f"{report.model['name']} on {report.data['used']} images of {report.data['name']}"
    lines = [f"the audit of {what} fails:", *(f"  {failure}" for failure in judged.failures), f"report: {page}"]
    return "\n".join(lines)


def _new_folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="snellen-audit-"))
