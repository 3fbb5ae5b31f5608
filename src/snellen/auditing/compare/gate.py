"""Whether an audit may pass: requirements, and no certain loss against an earlier run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from snellen.auditing.compare.comparison import ComparedFigure, Comparison
from snellen.auditing.compare.requirement import Judgement, Requirement, judge
from snellen.auditing.report import AuditReport


@dataclass(frozen=True)
class Gate:
    """What was asked of an audit, and what came out.

    Attributes:
        judgements: one for each requirement.
        comparison: with the baseline; None without one.
    """

    judgements: tuple[Judgement, ...] = ()
    comparison: Comparison | None = None

    @property
    def failures(self) -> tuple[str, ...]:
        """What is not met, in words; empty when the audit may pass."""
        failed = tuple(f"{one.requirement}: {one.reason}" for one in self.judgements if not one.met)
        if self.comparison is None:
            return failed
        return failed + tuple(
            f"{one.name} is worse than in the baseline: {told(one)}" for one in self.comparison.losses
        )

    @property
    def passes(self) -> bool:
        """Whether all is met."""
        return not self.failures


def gate(report: AuditReport, requirements: Sequence[Requirement], comparison: Comparison | None = None) -> Gate:
    """Judge an audit.

    Args:
        report: of the audit.
        requirements: see :func:`snellen.auditing.compare.requirement.judge`.
        comparison: of a baseline (first) with this audit (second); any figure of it that is worse is a failure.
    """
    return Gate(tuple(judge(requirements, report)), comparison)


def told(figure: ComparedFigure) -> str:
    """A difference with its interval, in words."""
    if figure.first is None or figure.second is None or figure.difference is None:
        return figure.reason or "not compared"
    ends = "" if figure.low is None or figure.high is None else f" ({figure.low:+.4f} to {figure.high:+.4f})"
    return f"{figure.first:.4f} → {figure.second:.4f}, {figure.difference:+.4f}{ends}"
