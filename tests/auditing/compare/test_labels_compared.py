"""Two audits of several labels an image: compared, gated and held to margins label by label."""

from __future__ import annotations

from pathlib import Path

import pytest

from snellen.auditing.audit import audit
from snellen.auditing.by_label import figure_names_by_label
from snellen.auditing.checks import build_check
from snellen.auditing.compare.compare import compare
from snellen.auditing.compare.gate import gate
from snellen.auditing.compare.requirement import check_names, parse_requirement
from snellen.core.errors import InputError
from tests.auditing.several_labels import NAMES, classifier, image_set

DAMAGE = {"check": "corruption", "kinds": ["contrast", "gaussian_noise"], "severities": [1, 5]}


def test_compare_and_gate_go_label_by_label(tmp_path: Path) -> None:
    checks = ["labels", "discrimination", "calibration", "group_gap", DAMAGE]
    first = audit(classifier(), image_set(), checks=checks, out=tmp_path / "first")
    second = audit(classifier(3), image_set(), checks=checks, out=tmp_path / "second")
    found = compare(tmp_path / "first", tmp_path / "second")
    figures = {one.name: one for one in found.figures}
    assert found.paired
    assert figures["labels.macro_auroc"].verdict in ("worse", "unclear", "same")
    assert figures["labels.edema.f1"].verdict == "worse"
    assert figures["labels.edema.sensitivity"].reason is not None
    assert figures["calibration.edema.brier"].verdict == "worse"
    assert figures["corruption.edema.present.contrast.error"].paired
    assert set(first.metrics) | set(second.metrics) <= set(figures)
    assert {one.verdict for one in compare(tmp_path / "first", tmp_path / "first").figures} <= {"same", "not compared"}
    keys = {one.key: one for one in found.findings}
    assert keys["group_gap:mass present: B"].verdict in ("better", "mended", "unclear", "same")
    judged = gate(
        second, [parse_requirement("labels.edema.sensitivity>=0.99"), parse_requirement("findings.note<=1000")], found
    )
    assert [one.met for one in judged.judgements] == [False, True]
    assert judged.comparison is not None
    assert judged.comparison.losses


def test_margins_are_judged_label_by_label_and_image_by_image(tmp_path: Path) -> None:
    for epochs in (30, 3):
        audit(classifier(epochs), image_set(), checks=["labels"], out=tmp_path / str(epochs))
    margins = {"": 0.01, "labels.edema.f1": 0.01, "class.edema.accuracy": 0.1}
    found = compare(tmp_path / "30", tmp_path / "3", not_worse_than=margins).not_worse
    assert [one.name for one in found] == ["labels.right_decisions", "labels.edema.f1", "class.edema.accuracy"]
    assert [one.verdict for one in found] == ["not met"] * 3
    assert all(one.paired for one in found)
    same = compare(tmp_path / "30", tmp_path / "30", not_worse_than=["1pt", "labels.exact_match=5pt"]).not_worse
    assert [one.verdict for one in same] == ["undecided", "met"], "120 patients"


def test_requirements_name_labels_that_are_there() -> None:
    running = [build_check("labels", {}), build_check("corruption", {}), build_check("duplicates", {})]
    for name in ("labels.mass.f1", "labels.macro_f1", "corruption.mass.present.fog.error"):
        check_names([parse_requirement(f"{name}>=0.1")], running, "multilabel", NAMES)
    with pytest.raises(InputError, match=r"did you mean 'labels\.mass\.f1'"):
        check_names([parse_requirement("labels.maas.f1>=0.1")], running, "multilabel", NAMES)
    named = figure_names_by_label(running[1], NAMES)
    assert named is not None
    assert not any(one.endswith(".3.accuracy") for one in named)


def test_lists_of_a_label_are_compared_with_those_of_the_same_label(tmp_path: Path) -> None:
    for name, epochs in (("first", 30), ("second", 3)):
        audit(classifier(epochs), image_set(300), checks=["labels", "slices"], out=tmp_path / name)
    found = {one.key: one.verdict for one in compare(tmp_path / "first", tmp_path / "second").findings}
    assert [verdict for key, verdict in found.items() if key.startswith("slice:effusion: ")] == ["new"]
