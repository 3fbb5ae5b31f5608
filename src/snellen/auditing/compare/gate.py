"""Whether an audit may pass (requirements, and no certain loss against an earlier run), also as JUnit XML."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple
from xml.etree import ElementTree

from snellen.auditing.compare.comparison import ComparedFigure, Comparison
from snellen.auditing.compare.requirement import Judgement, Requirement, findings_from, judge, rests_on
from snellen.auditing.legal_text import legal_text
from snellen.auditing.report import AuditReport
from snellen.core.finding import Level

#: Namespaces of the test cases, and rules that can be broken.
REQUIREMENT, BASELINE, NOT_WORSE, CHECK, FINDING = "requirement", "baseline", "not_worse", "check", "finding"


class Failure(NamedTuple):
    """What is not met: which rule, what it is about, and all of it in words."""

    rule: str
    subject: str
    words: str


@dataclass(frozen=True)
class Gate:
    """Requirements of an audit, and what came out.

    Attributes:
        judgements: one for each requirement.
        comparison: with the baseline; None without one.
    """

    judgements: tuple[Judgement, ...] = ()
    comparison: Comparison | None = None

    @property
    def failed(self) -> tuple[Failure, ...]:
        """What is not met; empty when the audit may pass."""
        found = [
            Failure(REQUIREMENT, one.requirement, f"{one.requirement}: {one.reason}")
            for one in self.judgements
            if not one.met
        ]
        if self.comparison is None:
            return tuple(found)
        if self.comparison.not_worse:  # the margins are what was agreed on, in place of every significant loss
            margins = (one for one in self.comparison.not_worse if one.verdict != "met")
            return (*found, *(Failure(NOT_WORSE, str(one), f"{one}: {one.words}") for one in margins))
        return (
            *found,
            *(
                Failure(BASELINE, one.name, f"{one.name} is worse than in the baseline: {words(one)}")
                for one in self.comparison.losses
            ),
        )

    @property
    def failures(self) -> tuple[str, ...]:
        """The same in words."""
        return tuple(one.words for one in self.failed)

    @property
    def passes(self) -> bool:
        """Whether all is met."""
        return not self.failed


def gate(report: AuditReport, requirements: Sequence[Requirement], comparison: Comparison | None = None) -> Gate:
    """Judge an audit.

    Args:
        report: of the audit.
        requirements: see :func:`snellen.auditing.compare.requirement.judge`.
        comparison: of a baseline (first) with this audit (second); any figure of it that is worse is a failure. Where
            it judged margins, every one that is not met is a failure, and nothing else of it.
    """
    return Gate(tuple(judge(requirements, report)), comparison)


def words(figure: ComparedFigure) -> str:
    """A difference with its interval, in words."""
    if figure.first is None or figure.second is None or figure.difference is None:
        return figure.reason or "not compared"
    ends = "" if figure.low is None or figure.high is None else f" ({figure.low:+.4f} to {figure.high:+.4f})"
    return f"{figure.first:.4f} → {figure.second:.4f}, {figure.difference:+.4f}{ends}"


def junit_xml(report: AuditReport, gate: Gate, *, level: Level = "moderate") -> bytes:
    """Write one test suite: a case for each requirement, compared figure, check, and finding of a level or worse.

    Requirements that are not met and figures that are worse than in the baseline are failures, so that the suite fails
    just when the command does. A check that failed is an error where a requirement rests on it, which is then not met.
    Checks and figures that could not run are skipped. Findings are listed in passing cases: what a project lives with
    is no failure; ``findings.LEVEL<=0`` makes it one.

    Args:
        report: of the audit.
        gate: the requirements.
        level: findings of this level or worse get a case.

    Returns:
        UTF-8 with a declaration; characters that XML cannot hold are replaced.
    """
    suite = ElementTree.Element("testsuite", name=legal_text(f"snellen audit of {report.model['name']}"))
    for judgement in gate.judgements:
        case = _case(suite, REQUIREMENT, judgement.requirement)
        if not judgement.met:
            _note(case, "failure", judgement.reason, kind="requirement")
    margins = gate.comparison.not_worse if gate.comparison else ()
    for margin in margins:
        case = _case(suite, NOT_WORSE, str(margin))
        if margin.verdict != "met":
            _note(case, "failure", margin.words, kind="margin")
    for figure in gate.comparison.figures if gate.comparison else ():
        _baseline(_case(suite, BASELINE, figure.name), figure, fails=not margins)
    for check in report.checks:
        case = _case(suite, CHECK, check.name)
        if check.status == "skipped":
            _note(case, "skipped", f"it {check.reason}")
        elif check.status == "failed":
            required = any(rests_on(one.requirement, check.name) for one in gate.judgements)
            _note(
                case,
                "error" if required else "skipped",
                f"it failed: {check.reason}",
                kind="check" if required else None,
            )
    for finding in findings_from(level, report):
        case = _case(suite, FINDING, finding.key)
        ElementTree.SubElement(case, "system-out").text = legal_text(
            f"{finding.whole_level}, harm {finding.harm:.1%}: {finding.title}"
        )
    cases = suite.findall("testcase")
    suite.set("tests", str(len(cases)))
    suite.set("failures", str(sum(case.find("failure") is not None for case in cases)))
    suite.set("errors", str(sum(case.find("error") is not None for case in cases)))
    suite.set("skipped", str(sum(case.find("skipped") is not None for case in cases)))
    # No clock reading: equal audits give equal bytes. The schema wants the attribute.
    suite.set("time", "0")
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="utf-8", xml_declaration=True) + b"\n"


def _baseline(case: ElementTree.Element, figure: ComparedFigure, *, fails: bool) -> None:
    if figure.verdict == "worse" and not fails:
        ElementTree.SubElement(case, "system-out").text = legal_text(f"worse than in the baseline: {words(figure)}")
    elif figure.verdict == "worse":
        _note(case, "failure", f"worse than in the baseline: {words(figure)}", kind="loss")
    elif figure.verdict == "not compared":
        _note(case, "skipped", figure.reason or "not compared")


def _case(suite: ElementTree.Element, group: str, name: str) -> ElementTree.Element:
    return ElementTree.SubElement(suite, "testcase", classname=f"snellen.{group}", name=legal_text(name), time="0")


def _note(case: ElementTree.Element, tag: str, message: str, *, kind: str | None = None) -> None:
    note = ElementTree.SubElement(case, tag, message=legal_text(message))
    if kind is not None:
        note.set("type", kind)
