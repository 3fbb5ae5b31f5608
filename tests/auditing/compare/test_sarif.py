"""SARIF: what is a result, where it is shown, what is escaped."""

import json
import os
from pathlib import Path

import pytest

from snellen.auditing.compare.compare import compare_records
from snellen.auditing.compare.gate import gate
from snellen.auditing.compare.requirement import parse_requirement
from snellen.auditing.compare.sarif import place_of, sarif
from snellen.auditing.report import CheckStatus
from snellen.core.finding import KINDS, Finding
from tests.auditing.compare.simulated_runs import run_of
from tests.auditing.compare.test_compare import outcomes
from tests.auditing.compare.test_junit import hostile_report

#: The official schema, where somebody has it: a file, not part of the repository.
SCHEMA = os.environ.get("SNELLEN_SARIF_SCHEMA")


def run_in(report, found, **options):
    log = json.loads(sarif(report, found, **options))
    validate(log)
    (run,) = log["runs"]
    return run


def validate(log):
    """By the official schema where it is there; what it requires of these parts in any case."""
    assert set(log) == {"$schema", "version", "runs"}
    assert log["version"] == "2.1.0"
    for run in log["runs"]:
        rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
        assert len(set(rules)) == len(rules)
        for result in run["results"]:
            assert rules[result["ruleIndex"]] == result["ruleId"]
            assert result["level"] in ("none", "note", "warning", "error")
            assert result["message"]["text"]
            for location in result["locations"]:
                artifact = location["physicalLocation"]["artifactLocation"]
                assert set(artifact) <= {"uri", "uriBaseId"}
                assert not set(artifact["uri"]) & set(' <>"{}|\\^`')
        for notification in run["invocations"][0]["toolExecutionNotifications"]:
            assert notification["level"] in ("note", "error")
    if SCHEMA:
        jsonschema = pytest.importorskip("jsonschema")
        schema = json.loads(Path(SCHEMA).read_bytes())
        jsonschema.validators.validator_for(schema)(schema).validate(log)


def test_findings_and_what_is_not_met_are_results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my model.onnx").touch()
    (tmp_path / "test.csv").touch()
    report = hostile_report()
    found = [
        Finding(kind="worst_class", subject="owl", harm=0.3, title="owl is lost", facts={"error": 0.4}),
        Finding(kind="label_noise", harm=0.06, title="wrong labels"),
        Finding(kind="slice", subject="mild", harm=0.01, title="a mild one"),
    ]
    checks = (*report.checks, CheckStatus(name="drift", status="failed", reason="no features"))
    report = report.model_copy(update={"findings": tuple(found), "checks": checks})
    judged = gate(report, [parse_requirement(text) for text in ("clean.accuracy>=0.3", "clean.accuracy>=0.9")])
    places = {"model": place_of("onnx:my model.onnx"), "data": place_of("test.csv#validation")}
    run = run_in(report, judged, **places)
    rows = [(one["ruleId"], one["level"]) for one in run["results"]]
    assert rows == [("requirement", "error"), ("worst_class", "error"), ("label_noise", "warning")]
    assert "lower end 0.4000 of" in run["results"][0]["message"]["text"]
    assert run["results"][1]["properties"]["facts"] == {"error": 0.4}
    shown = [one["locations"][0]["physicalLocation"] for one in run["results"]]
    model = {"artifactLocation": {"uri": "my%20model.onnx", "uriBaseId": "%SRCROOT%"}}
    table = {"artifactLocation": {"uri": "test.csv", "uriBaseId": "%SRCROOT%"}, "region": {"startLine": 1}}
    assert shown == [model, model, table]
    assert run["invocations"][0]["exitCode"] == 3
    failed = [one for one in run["invocations"][0]["toolExecutionNotifications"] if one["level"] == "error"]
    assert [one["message"]["text"] for one in failed] == ["check drift failed: no features"]
    mild = run_in(report, judged, level="note", **places)
    assert [one["level"] for one in mild["results"] if one["ruleId"] == "slice"] == ["note"]
    assert sarif(report, judged, **places) == sarif(report, judged, **places)


def test_hostile_names_are_data():
    report = hostile_report()
    log = sarif(report, gate(report, []))
    assert not {0x1B, 0x00} & set(log)
    run = run_in(report, gate(report, []))
    assert "<b>�\\[2J��\\]\\]>&" in run["results"][0]["message"]["text"], "brackets would be links"
    assert run["results"][0]["locations"] == [], "a report that nobody kept has no place"


def test_the_same_finding_keeps_its_print_and_another_has_its_own():
    report = hostile_report()
    first, second = (Finding(kind="slice", subject=name, harm=0.2, title="x") for name in "ab")
    later = first.model_copy(update={"harm": 0.4, "title": "other words"})

    def prints(*findings):
        run = run_in(report.model_copy(update={"findings": findings}), gate(report, []))
        return [one["partialFingerprints"]["snellen/v1"] for one in run["results"]]

    assert prints(first) == prints(later)
    assert len(set(prints(first, second))) == 2


def test_requirements_of_figures_whose_names_begin_alike_have_prints_of_their_own():
    report = hostile_report()
    asked = [parse_requirement(f"labels.a: {name}.auroc>=0.9") for name in "bc"]
    first, second = run_in(report, gate(report, asked))["results"][:2]
    assert first["ruleId"] == second["ruleId"] == "requirement"
    assert first["partialFingerprints"] != second["partialFingerprints"]


@pytest.mark.parametrize(("margins", "rule"), [(None, "baseline"), ({"clean.accuracy": 0.01}, "not_worse")])
def test_a_loss_against_the_baseline_is_a_result(margins, rule):
    right, sure, under = outcomes()
    worse = right.copy()
    worse[right.nonzero()[0][:100]] = False
    after = run_of(worse, sure, under)
    compared = compare_records(run_of(right, sure, under), after, resamples=50, not_worse_than=margins)
    found = gate(after.report, [], compared)
    losses = [one for one in run_in(after.report, found)["results"] if one["ruleId"] == rule]
    assert len(losses) == len(found.failures) > 0
    assert any("0.1000" in one["message"]["text"] for one in losses)


def test_every_kind_of_finding_has_a_rule():
    report = hostile_report()
    findings = tuple(Finding(kind=kind, harm=0.3, title=kind) for kind in (*KINDS, "x-mine"))
    run = run_in(report.model_copy(update={"findings": findings}), gate(report, []))
    said = {rule["id"]: rule["shortDescription"]["text"] for rule in run["tool"]["driver"]["rules"]}
    assert said == {**KINDS, "x-mine": "x-mine"}


@pytest.mark.parametrize("reference", ["onnx:a.onnx", "a.onnx", "timm:resnet18@a.onnx", "a.onnx#test"])
def test_the_file_of_a_reference(tmp_path, monkeypatch, reference):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.onnx").touch()
    assert place_of(reference) == Path("a.onnx")


@pytest.mark.parametrize("reference", ["bundled:fashion-cnn", "http://127.0.0.1:1/v2/models/a", "a\x00b", ""])
def test_what_is_no_file(tmp_path, monkeypatch, reference):
    monkeypatch.chdir(tmp_path)
    assert place_of(reference) is None
