"""What an experiment tracker is given of an audit, or of a comparison of two: numbers by name, tables, files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from snellen.auditing.compare.comparison import Comparison
from snellen.auditing.compare.requirement import FINDINGS, LEVELS, findings_from
from snellen.auditing.report import AuditReport
from snellen.core.run import canonical_json

#: Before the name of every number, unless the caller names another.
PREFIX = "snellen/"


@dataclass(frozen=True)
class Logged:
    """What a tracker is given.

    Attributes:
        numbers: by name, without a prefix.
        labels: short texts that identify model and data.
        head: of the table of findings.
        findings: its rows.
        files: content by file name.
    """

    numbers: dict[str, float]
    labels: dict[str, str]
    head: tuple[str, ...]
    findings: tuple[tuple[str | float | None, ...], ...]
    files: dict[str, bytes]


def logged(result: AuditReport | Comparison) -> Logged:
    """The parts of an audit, or of a comparison."""
    return _of_comparison(result) if isinstance(result, Comparison) else _of_audit(result)


def numbers_of(report: AuditReport, figures: Sequence[str] = ("*",)) -> dict[str, float]:
    """Figures with the ends of their 95 % intervals, and how many findings there are of each level or worse.

    Args:
        report: of the audit.
        figures: patterns of names, such as ``clean.*``.

    Returns:
        ``NAME``, ``NAME.low`` and ``NAME.high`` for each figure, and ``findings.LEVEL``, as in a gate.
    """
    found: dict[str, float] = {}
    for name, figure in report.metrics.items():
        if any(fnmatchcase(name, pattern) for pattern in figures):
            found |= {name: figure.value, f"{name}.low": figure.low, f"{name}.high": figure.high}
    return found | {f"{FINDINGS}.{level}": float(len(findings_from(level, report))) for level in LEVELS}


def _of_audit(report: AuditReport) -> Logged:
    return Logged(
        numbers=numbers_of(report),
        labels={
            "snellen.model": str(report.model["name"]),
            "snellen.model_identity": str(report.model.get("identity") or "not hashable"),
            "snellen.data": str(report.data["name"]),
            "snellen.data_fingerprint": str(report.data["fingerprint"]),
        },
        head=("level", "kind", "subject", "harm", "p_value", "title"),
        findings=tuple(
            (one.shown_level, one.kind, one.subject, one.harm, one.p_value, one.title) for one in report.findings
        ),
        files={"report.html": report.html.encode("utf-8"), "report.json": canonical_json(report.to_json())},
    )


def _of_comparison(compared: Comparison) -> Logged:
    from snellen.auditing.compare.page import render_comparison

    numbers: dict[str, float] = {
        "worse": float(len(compared.losses)),
        "better": float(len(compared.gains)),
        "compared": float(compared.tested["figures"]),
    }
    for figure in compared.figures:
        ends = {"difference": figure.difference, "difference.low": figure.low, "difference.high": figure.high}
        numbers |= {f"{figure.name}.{end}": value for end, value in ends.items() if value is not None}
    return Logged(
        numbers=numbers,
        labels={
            "snellen.first": compared.first.model,
            "snellen.first_identity": str(compared.first.identity or "not hashable"),
            "snellen.second": compared.second.model,
            "snellen.second_identity": str(compared.second.identity or "not hashable"),
            "snellen.paired": str(compared.paired).lower(),
        },
        head=("verdict", "finding", "first_harm", "second_harm", "difference", "title"),
        findings=tuple(
            (one.verdict, one.key, one.first_harm, one.second_harm, one.difference, one.title)
            for one in compared.findings
        ),
        files={
            "comparison.html": render_comparison(compared).encode("utf-8"),
            "comparison.json": canonical_json(compared.to_json()),
        },
    )
