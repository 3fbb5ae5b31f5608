"""A report in plain text: what a reader without a browser needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snellen.auditing.ledger import ledger_words
from snellen.data.rejections import listed_reasons

if TYPE_CHECKING:
    from snellen.auditing.report import AuditReport

#: Figures that the text names; all are in the report.
LEADING = (
    "labels.macro_auroc",
    "labels.macro_f1",
    "labels.exact_match",
    "segmentation.miou",
    "clean.accuracy",
    "clean.balanced_accuracy",
    "calibration.ece",
    "corruption.error",
)


def text_summary(report: AuditReport) -> str:
    """Preprocessing, leading figures, findings by harm, and what was rejected."""
    lines = [f"Audit of {report.model['name']} on {report.data['name']}: {report.data['used']} images"]
    if "preprocessing" in report.model:
        lines.append(f"Preprocessing: {report.model['preprocessing']}")
    lines += [f"Model: {note}" for note in report.model["notes"]]
    if report.data["rejected"]:
        why = listed_reasons(report.data.get("rejected_reasons", {}))
        lines.append(f"Rejected: {report.data['rejected']} of {report.data['images']} images ({why})")
    if "ledger" in report.data:
        lines.append(ledger_words(report.data["ledger"]))
    lines.append("")
    for name in LEADING:
        if name in report.metrics:
            figure = report.metrics[name]
            lines.append(f"{name:<24} {figure.value:.4f}   {figure.low:.4f} to {figure.high:.4f}   n = {figure.n}")
    lines.append("")
    lines += [f"{finding.harm:>6.1%}  {finding.shown_level:<8}  {finding.title}" for finding in report.findings]
    if not report.findings:
        lines.append(report.nothing_found)
    if report.sight:
        lines += ["", "Not found, though nine of ten audits would find it:"]
        lines += [f"  {each}" for each in report.sight]
    return "\n".join(lines)
