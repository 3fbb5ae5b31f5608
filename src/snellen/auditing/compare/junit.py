"""JUnit XML of an audit, the form that continuous integration shows: one suite, failures just where the gate fails."""

from __future__ import annotations

from xml.etree import ElementTree

from snellen.auditing.compare.comparison import ComparedFigure
from snellen.auditing.compare.gate import Gate, told
from snellen.auditing.compare.requirement import LEVELS, rests_on
from snellen.auditing.report import AuditReport
from snellen.core.finding import Level

#: Namespaces of the test cases.
REQUIREMENT, BASELINE, CHECK, FINDING = "requirement", "baseline", "check", "finding"


def junit_xml(report: AuditReport, gate: Gate, *, level: Level = "moderate") -> bytes:
    """Write one test suite: a case for each requirement, compared figure, check, and finding of a level or worse.

    Requirements that are not met and figures that are worse than in the baseline are failures, so that the suite fails
    just when the command does. A check that failed is an error where a requirement rests on it, which is then not met.
    Checks and figures that could not run are skipped. Findings are told in passing cases:
    what a project lives with is no failure; ``findings.LEVEL<=0`` makes it one.

    Args:
        report: of the audit.
        gate: what was asked of it.
        level: findings of this level or worse get a case.

    Returns:
        UTF-8 with a declaration; characters that XML cannot hold are replaced.
    """
    suite = ElementTree.Element("testsuite", name=_legal(f"snellen audit of {report.model['name']}"))
    for judgement in gate.judgements:
        case = _case(suite, REQUIREMENT, judgement.requirement)
        if not judgement.met:
            _note(case, "failure", judgement.reason, kind="requirement")
    for figure in gate.comparison.figures if gate.comparison else ():
        _baseline(_case(suite, BASELINE, figure.name), figure)
    for check in report.checks:
        case = _case(suite, CHECK, check.name)
        if check.status == "skipped":
            _note(case, "skipped", f"it {check.reason}")
        elif check.status == "failed":
            asked = any(rests_on(one.requirement, check.name) for one in gate.judgements)
            _note(case, "error" if asked else "skipped", f"it failed: {check.reason}", kind="check" if asked else None)
    for finding in report.findings:
        if LEVELS.index(finding.level) <= LEVELS.index(level):
            case = _case(suite, FINDING, finding.key)
            ElementTree.SubElement(case, "system-out").text = _legal(
                f"{finding.level}, harm {finding.harm:.1%}: {finding.title}"
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


def _baseline(case: ElementTree.Element, figure: ComparedFigure) -> None:
    if figure.verdict == "worse":
        _note(case, "failure", f"worse than in the baseline: {told(figure)}", kind="loss")
    elif figure.verdict == "not compared":
        _note(case, "skipped", figure.reason or "not compared")


def _case(suite: ElementTree.Element, group: str, name: str) -> ElementTree.Element:
    return ElementTree.SubElement(suite, "testcase", classname=f"snellen.{group}", name=_legal(name), time="0")


def _note(case: ElementTree.Element, tag: str, message: str, *, kind: str | None = None) -> None:
    note = ElementTree.SubElement(case, tag, message=_legal(message))
    if kind is not None:
        note.set("type", kind)


def _legal(text: str) -> str:
    r"""Replace what is no character of XML 1.0 (section 2.2), escaped or not.

    >>> _legal("a\x00b\x1b[31m\ud800\tc")
    'a�b�[31m�\tc'
    """
    return "".join(c if c in "\t\n\r" or (c >= " " and not _illegal(ord(c))) else "�" for c in text)


def _illegal(code: int) -> bool:
    return 0x7F <= code <= 0x9F or 0xD800 <= code <= 0xDFFF or code in (0xFFFE, 0xFFFF)
