"""JUnit XML: what fails, what is skipped, what is escaped."""

from xml.etree import ElementTree

import pytest

from snellen.auditing.compare.compare import compare_records
from snellen.auditing.compare.gate import gate, junit_xml
from snellen.auditing.compare.requirement import parse_requirement
from snellen.auditing.report import CheckStatus
from snellen.core.finding import Finding
from tests.auditing.compare.simulated_runs import run_of
from tests.auditing.compare.test_compare import outcomes

HOSTILE = "<b>\x1b[2J\x00\ud800]]>&\"'"


def hostile_report():
    run = run_of(*outcomes(100))
    told = [
        Finding(kind="worst_class", subject=HOSTILE, harm=0.3, title=HOSTILE),
        Finding(kind="slice", subject="mild", harm=0.01, title="a mild one"),
    ]
    checks = (*run.report.checks, CheckStatus(name="group_gap", status="skipped", reason=f"needs {HOSTILE}"))
    return run.report.model_copy(update={"model": {"name": HOSTILE}, "findings": tuple(told), "checks": checks})


def parsed(report, found, **options):
    suite = ElementTree.fromstring(junit_xml(report, found, **options))
    cases = {(case.get("classname"), case.get("name")): case for case in suite}
    return suite, cases


def test_requirements_checks_and_findings_are_cases():
    report = hostile_report()
    asked = [parse_requirement(text) for text in ("clean.accuracy>=0.3", "clean.accuracy>=0.9", "findings.severe<=0")]
    suite, cases = parsed(report, gate(report, asked))
    assert suite.tag == "testsuite"
    assert cases["snellen.requirement", "clean.accuracy>=0.3"].find("failure") is None
    failure = cases["snellen.requirement", "clean.accuracy>=0.9"].find("failure")
    assert "lower end 0.4000" in failure.get("message")
    assert cases["snellen.requirement", "findings.severe<=0"].find("failure") is not None
    assert cases["snellen.check", "group_gap"].find("skipped") is not None
    assert {key[1] for key in cases if key[0] == "snellen.finding"} == {"worst_class:" + "<b>�[2J��]]>&\"'"}
    counts = {name: int(suite.get(name)) for name in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": len(suite), "failures": 2, "errors": 0, "skipped": 1}
    everything = parsed(report, gate(report, asked), level="note")[1]
    assert ("snellen.finding", "slice:mild") in everything


def test_hostile_names_are_data():
    report = hostile_report()
    text = junit_xml(report, gate(report, [])).decode("utf-8")
    assert "<b>" not in text
    assert not {"\x1b", "\x00"} & set(text)
    assert ElementTree.fromstring(text.encode()).get("name") == "snellen audit of <b>�[2J��]]>&\"'"


def test_a_loss_against_the_baseline_is_a_failure():
    right, sure, under = outcomes()
    worse = right.copy()
    worse[right.nonzero()[0][:100]] = False
    after = run_of(worse, sure, under)
    found = gate(after.report, [], compare_records(run_of(right, sure, under), after, resamples=50))
    assert not found.passes
    assert any(failure.startswith("clean.accuracy is worse than in the baseline") for failure in found.failures)
    suite, cases = parsed(after.report, found)
    assert "-0.1000" in cases["snellen.baseline", "clean.accuracy"].find("failure").get("message")
    assert cases["snellen.baseline", "corruption.fog.1.accuracy"].find("failure") is None
    assert int(suite.get("failures")) == len(found.failures)


@pytest.mark.parametrize(
    ("text", "errors", "passes"),
    [("findings.severe<=9", 1, False), ("drift.auroc<=1", 1, False), ("clean.accuracy>=0.3", 0, True)],
)
def test_a_check_that_failed_is_an_error_just_where_the_gate_fails_for_it(text, errors, passes):
    report = hostile_report()
    checks = tuple(one for one in report.checks if one.name != "drift")
    failed = CheckStatus(name="drift", status="failed", reason="no features")
    report = report.model_copy(update={"checks": (*checks, failed)})
    found = gate(report, [parse_requirement(text)])
    suite, cases = parsed(report, found)
    assert found.passes is passes
    assert (int(suite.get("errors")), int(suite.get("failures"))) == (errors, errors)
    note = cases["snellen.check", "drift"].find("error" if errors else "skipped")
    assert "it failed: no features" in note.get("message")


@pytest.mark.parametrize("level", ["severe", "moderate", "mild", "note"])
def test_the_form_is_that_of_the_usual_schema(level):
    """Elements, their order and attributes as in jenkins-junit.xsd."""
    report = hostile_report()
    suite = ElementTree.fromstring(
        junit_xml(report, gate(report, [parse_requirement("clean.accuracy>=1")]), level=level)
    )
    assert set(suite.attrib) == {"name", "tests", "failures", "errors", "skipped", "time"}
    for case in suite:
        assert case.tag == "testcase"
        assert set(case.attrib) == {"name", "classname", "time"}
        assert [child.tag for child in case] in ([], ["failure"], ["skipped"], ["system-out"])
        for child in case:
            assert set(child.attrib) <= {"message", "type"}
    assert junit_xml(report, gate(report, [])) == junit_xml(report, gate(report, []))
