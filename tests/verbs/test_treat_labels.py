"""Treating a model of several labels an image: probabilities and thresholds; what is not treated says why."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import nn

import snellen
from snellen.auditing.report import AuditReport
from snellen.checks.treatments import UNTREATED_LABELS, ladder, untreated
from snellen.core import index
from snellen.core.errors import InputError
from snellen.core.images import ImageSet, Split
from snellen.verbs.treated import Treated
from snellen.verbs.treatment_case import Case, _held_out
from tests.auditing.several_labels import NAMES, SIDE, network
from tests.auditing.several_labels import image_set as of_patients

#: A mass is hardly ever given, an effusion four times too sure; a head of an edema as it was.
SCALE, SHIFT = (4.0, 1.0, 1.0), (0.0, 0.0, -4.0)


def image_set(count: int, seed: int) -> ImageSet:
    """Images of patients of their own."""
    made = of_patients(count, seed)
    place = made.table.column_names.index("unit_id")
    patients = pa.array([f"{seed} {number // 2}" for number in range(count)])
    return replace(made, table=made.table.set_column(place, "unit_id", patients))


@pytest.fixture(scope="module")
def report() -> AuditReport:
    head = nn.Linear(3, 3)
    head.weight.data, head.bias.data = torch.diag(torch.tensor(SCALE)), torch.tensor(SHIFT)
    model = snellen.load_classifier(nn.Sequential(network(30), head), NAMES, task="multi_label", size=SIDE)
    # Thresholds of the audit become those of the classifier that is treated.
    labels = {"check": "labels", "thresholds": {"effusion": 0.4}}
    checks = [labels, "calibration", {"check": "corruption", "kinds": ["contrast"], "severities": [5]}]
    return snellen.audit(model, image_set(500, 7), checks=checks, progress=False)


@pytest.fixture(scope="module")
def treated(report: AuditReport, tmp_path_factory: pytest.TempPathFactory) -> Treated:
    folder = tmp_path_factory.mktemp("labels") / "treated"
    keys = ["worst_class:mass", "calibration:mass", "threshold:mass", "corruption"]
    return snellen.treat(
        report, val=image_set(400, 11), test=image_set(300, 13), findings=keys, out=folder, progress=None
    )


def test_a_finding_says_how_it_is_treated_or_why_not(report: AuditReport) -> None:
    advice = {one.key: one.treatments[0] for one in report.findings}
    objects = "--model AUDITED_MODEL --images AUDITED_IMAGES"
    command = f"snellen treat . --finding {{}} --val VALIDATION_IMAGES {objects} --out treated"
    for key in ("worst_class:mass", "calibration:mass", "threshold:mass"):
        assert advice[key] == command.format(key)
    damage = {words for key, words in advice.items() if key.startswith("corruption:")}
    assert damage == {UNTREATED_LABELS["corruption"]}
    markdown = report.to_markdown()
    assert "label_temperature, label_scaling" in markdown
    assert "VALIDATION_IMAGES stands for labelled images that scores and thresholds may be fitted to." in markdown


def test_every_kind_of_finding_is_treated_or_says_why_not() -> None:
    kinds = {kind for check in index.checks().values() for kind in check.finds}
    silent = {kind for kind in kinds if not ladder(kind, several=True) and not untreated(kind, several=True)}
    assert not silent
    assert untreated("threshold", several=True) is None
    trained = [kind for kind in kinds if ladder(kind) and not ladder(kind, several=True)]
    assert all("train" in str(untreated(kind, several=True)) for kind in trained)


def test_probabilities_and_thresholds_are_treated_and_proven(treated: Treated) -> None:
    became = {one.key: one for one in treated.findings}
    assert {one.outcome for key, one in became.items() if not key.startswith("corruption")} <= {"mended", "smaller"}
    damage = [one for key, one in became.items() if key.startswith("corruption")]
    assert {(one.outcome, one.reason) for one in damage} == {("untreated", UNTREATED_LABELS["corruption"])}
    assert became["threshold:mass"].difference < -0.2
    assert became["calibration:mass"].high < 0
    assert treated.cost is not None
    assert treated.cost.difference > -0.02
    assert any("fit thresholds and scores of labels" in note for note in treated.notes)
    assert any("balanced accuracy +" in words for words in treated.tried)
    assert any(line.startswith("Share of right decisions ") for line in treated.lines())


def test_what_is_written_gives_labels_above_the_same_thresholds(report: AuditReport, treated: Treated) -> None:
    assert treated.reference is not None
    again = snellen.load_classifier(treated.reference)
    assert again.thresholds == treated.classifier.thresholds
    assert again.thresholds is not None
    assert again.thresholds[0] == pytest.approx(0.4), "what the audit was given for another label stays"
    assert 0 < again.thresholds[2] < 0.4
    shown = image_set(60, 17)
    pixels = torch.stack([again.prepare(one.image) for one in shown])
    audited = report.subject.classifier
    with torch.no_grad():
        decisions = {one: one.predict(one(pixels)) for one in (again, treated.classifier, audited)}
    assert torch.equal(decisions[again], decisions[treated.classifier])
    assert int(decisions[again][:, 2].sum()) > int(decisions[audited][:, 2].sum())
    pages = (Path(treated.folder) / name for name in ("treated.html", "README.md"))
    page, card = (one.read_text(encoding="utf-8") for one in pages)
    assert "Share of right decisions" in page
    assert "before <span" in page, "pictures of decisions that changed"
    assert ">no mass<" in page
    assert "Share of right decisions on 300 images" in card


def test_what_cannot_be_is_refused(report: AuditReport) -> None:
    given = {"val": image_set(120, 11), "test": image_set(60, 13)}
    with pytest.raises(InputError, match="temperature_scaling cannot treat a model of several labels an image"):
        snellen.treatment_plan(report, findings="calibration", treatments=["temperature_scaling"], **given)
    one_class = snellen.load_images((np.zeros((60, SIDE, SIDE), np.uint8), np.arange(60) % 3), class_names=NAMES)
    with pytest.raises(InputError, match="has one class or none an image"):
        snellen.treatment_plan(report, findings="calibration", val=one_class, test=given["test"])
    plan = snellen.treatment_plan(report, findings="corruption", **given)
    assert not plan.treated
    assert f"nothing: {UNTREATED_LABELS['corruption']}" in str(plan)
    held = snellen.treatment_plan(report, image_set(800, 19), test=given["test"], findings="threshold")
    assert "that were held out of 800 training images" in str(held)
    assert held.treated
    with pytest.raises(InputError, match="0 labelled images are left to prove"):
        snellen.treatment_plan(report, image_set(800, 19), test=image_set(300, 19), findings="threshold")
    with pytest.raises(InputError, match="a treatment needs 40 validation images at least"):
        snellen.treatment_plan(report, findings="threshold", val=image_set(1, 11), test=given["test"])


def test_thresholds_of_the_audit_are_part_of_what_is_resumed(report: AuditReport) -> None:
    case = Case.of(report, val=image_set(120, 11), test=image_set(60, 13), findings="threshold:mass")
    assert case.request(None)["thresholds"] == [0.4, 0.5, 0.5]


def test_images_of_rare_sets_of_labels_are_held_out() -> None:
    made = snellen.load_images(
        (np.zeros((512, SIDE, SIDE), np.uint8), (np.arange(512)[:, None] >> np.arange(9)) & 1),
        class_names=[str(one) for one in range(9)],
    )
    rows = _held_out(made, 0)  # no two sets are equal
    assert 80 <= len(rows) <= 125
    assert (made.label_sets[rows].sum(0) >= 20).all()


def test_labels_never_or_always_present_or_unknown_are_left_as_they_are(report: AuditReport) -> None:
    val = image_set(120, 11)
    place = val.table.column_names.index("labels")
    for own in (0, 1, None):
        sets = [[*one[:2], own] for one in val.table["labels"].to_pylist()]
        told = replace(val, table=val.table.set_column(place, "labels", pa.array(sets, val.table["labels"].type)))
        plan = snellen.treatment_plan(report, findings="threshold:mass", val=told, test=image_set(60, 13))
        assert not plan.treated
        assert "needs 10 validation images with a label and 10 without it, of mass" in str(plan)


def test_of_a_function_the_scores_are_treated_and_the_folder_holds_the_numbers(tmp_path: Path) -> None:
    model = network(30)
    given = snellen.load_classifier(
        lambda images: (model(images) - 4).sigmoid(), NAMES, task="multi_label", size=SIDE, name="function"
    )
    found = snellen.audit(given, image_set(200, 7), checks=["labels", "calibration"], progress=False)
    sets = {"val": image_set(120, 11), "test": image_set(300, 13), "progress": None}
    made = snellen.treat(found, findings=["worst_class", "calibration"], out=tmp_path, **sets)
    assert "mended" in {one.outcome for one in made.findings}
    assert made.delivered
    assert made.reference is None
    assert "scores.json holds what is done to its scores: scale times" in (tmp_path / "README.md").read_text()
    numbers = json.loads((tmp_path / "scores.json").read_text())
    assert numbers["thresholds"] == dict(zip(NAMES, made.classifier.thresholds, strict=True))
    images = torch.rand(5, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    logits = given(images).exp().logit()
    for step in numbers["scaled"]:
        logits = logits * torch.tensor(step["scale"]) + torch.tensor(step["shift"])
    torch.testing.assert_close(logits.sigmoid().double(), made.classifier.probabilities(made.classifier(images)))
    assert given.thresholds is None, "the audited one is as it was"


class Corners(nn.Module):
    """Each label by the brightness of a part of the image; there is no weight in it."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Scores (n, 2)."""
        return 40 * (torch.stack([images[:, 0, :4].mean((1, 2)), images[:, 0, 4:].mean((1, 2))], 1) - 0.55)


def test_thresholds_of_a_module_without_parameters_are_treated_and_written(tmp_path: Path) -> None:
    def two_parts(seed: int, split: Split) -> ImageSet:
        rng = np.random.default_rng(seed)
        labels = (rng.random((200, 2)) < (0.4, 0.2)).astype(int)
        images = rng.integers(60, 90, (200, 8, 8), dtype=np.uint8)
        images[:, :4] += (30 * labels[:, :1, None]).astype(np.uint8)  # never as bright as the model asks
        images[:, 4:] += (60 * labels[:, 1:, None]).astype(np.uint8)
        return replace(snellen.load_images((images, labels), class_names=["effusion", "oedema"]), split=split)

    model = snellen.load_classifier(Corners(), ["effusion", "oedema"], task="multi_label", size=8)
    found = snellen.audit(model, two_parts(0, "test"), checks=["labels"], progress=False)
    made = snellen.treat(
        found, val=two_parts(1, "val"), test=two_parts(2, "test"), findings="threshold", out=tmp_path, progress=None
    )
    assert {one.key: one.outcome for one in made.findings}["threshold:effusion"] == "mended"
    assert made.reference is not None
    again = snellen.load_classifier(made.reference)
    assert again.thresholds == made.classifier.thresholds != model.thresholds
    assert not (tmp_path / "weights.safetensors").exists(), "there is none"
