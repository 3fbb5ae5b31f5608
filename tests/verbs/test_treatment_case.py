"""What a treatment rests on: the run, images by their roles, and the plan; all refused before anything is trained."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

import snellen
from snellen.auditing.report import AuditReport
from snellen.core.errors import InputError, UnknownNameError
from snellen.core.images import ImageSet
from snellen.verbs.treated import Treated
from snellen.verbs.treatment_case import Case, _held_out
from snellen.verbs.treatment_proof import ProvingImages
from snellen.verbs.treatment_search import next_treatments
from tests.verbs.ill_classifiers import SEEN, blind_to, classifier_of, garments, overconfident

CHECKS = ["clean", "calibration"]


def treat(report: AuditReport | Path, **changes) -> Treated:
    given = {"train": garments()["train"], "val": garments()["val"], **changes}
    return snellen.treat(report, **given)


def outcome(made: Treated, key: str) -> str:
    return next(one.outcome for one in made.findings if one.key == key)


def test_what_was_opened_by_references_is_opened_again_from_the_folder(tmp_path, monkeypatch):
    images = "bundled:fashion-mnist"
    report = snellen.audit("bundled:fashion-cnn", images, limit=300, checks=["clean"], out=tmp_path / "run")
    assert report.folder is not None
    monkeypatch.chdir(tmp_path)
    plan = snellen.treatment_plan(tmp_path / "run", garments()["train"], findings=[report.findings[0].key])
    assert plan.treated[0].key == report.findings[0].key


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda value: value["images"].pop("rows"), "rows"),
        (lambda value: value["images"].update(rows=3), "valid string"),
        (lambda value: value["images"].update(table="AAAA"), "audited images of .* cannot be opened again"),
        (lambda value: value["classifier"].pop("ref"), "is not described as one"),
        (
            lambda value: value["classifier"].update(folder="/nowhere"),
            "^/nowhere, the folder from which .* is not there",
        ),
        (lambda value: value.update(classifier=[]), "name classifier and images"),
    ],
)
def test_what_was_examined_must_be_described_as_it_is_written(tmp_path, change, words):
    images = "optotypes:scenes?count=120&size=32&sizes=large&shapes=ring,star&seed=5#test"
    snellen.audit("bundled:scene-cnn", images, checks=["clean"], out=tmp_path / "run")
    file = tmp_path / "run" / "inputs.json"
    value = json.loads(file.read_bytes())
    change(value)
    file.write_text(json.dumps(value), encoding="utf-8")
    with pytest.raises(InputError, match=words):
        snellen.treatment_plan(tmp_path / "run")


def test_a_run_of_objects_asks_for_them(sure):
    for given in ({}, {"classifier": sure.subject.classifier}, {"images": garments()["audited"]}):
        with pytest.raises(InputError, match=r"does not say how its classifier was loaded.*--model REFERENCE --images"):
            treat(sure.folder, **given)
    made = treat(sure.folder, classifier=sure.subject.classifier, images=garments()["audited"], findings="calibration")
    assert outcome(made, "calibration") == "mended"
    with pytest.raises(InputError, match="is not the classifier that"):
        treat(sure.folder, classifier=classifier_of(blind_to(1)), images=garments()["audited"])
    with pytest.raises(InputError, match="are not the images that"):
        treat(sure.folder, classifier=sure.subject.classifier, images=garments()["val"])


def test_images_that_were_trained_on_prove_nothing():
    sets = garments()
    shared = ImageSet(sets["audited"].source, sets["audited"].table, sets["audited"].class_names, "shared")
    proving = ProvingImages.of(shared, None, [sets["train"], sets["audited"].select(range(500))], preparation=SEEN)
    ids = set(proving.proving.ids) | set(proving.selecting.ids)
    assert ids == set(sets["audited"].ids[500:]), "told by content, whatever the ids"
    assert proving.notes[0].startswith("500 of 800 images")
    with pytest.raises(InputError, match=r"0 labelled images are left.*--test DATA"):
        ProvingImages.of(shared, None, [sets["audited"]], preparation=SEEN)


def test_files_and_arrays_of_the_same_pixels_are_copies(tmp_path):
    sets = garments()
    for row in range(300):
        sets["audited"].read(row).save(tmp_path / f"{row:03d}.png")
    files = snellen.load_images(tmp_path)
    proving = ProvingImages.of(sets["audited"], None, [files], preparation=SEEN)
    assert {*proving.proving.ids, *proving.selecting.ids} == {*sets["audited"].ids[300:]}
    assert proving.notes[0].startswith("300 of 800 images")


def test_the_two_parts_share_no_image_and_a_test_set_is_taken_whole():
    sets = garments()
    halved = ProvingImages.of(sets["audited"], None, [sets["train"]], preparation=SEEN)
    assert not set(halved.proving.ids) & set(halved.selecting.ids)
    assert abs(len(halved.proving) - len(halved.selecting)) <= 1
    whole = ProvingImages.of(sets["audited"], sets["val"], [sets["train"]], preparation=SEEN)
    assert whole.proving.ids == sets["val"].ids
    assert whole.selecting is None


def test_named_treatments_of_which_none_can_be_tried_are_refused_with_the_reason(blind):
    with pytest.raises(InputError, match=r"none of the named .*: synthesized_images needs a generator of images"):
        treat(blind, findings="worst_class", treatments=["synthesized_images"])


def test_the_plan_names_treatments_and_why_others_are_left_out(blind):
    plan = snellen.treatment_plan(blind, val=garments()["val"], findings="worst_class")
    assert not plan.treated
    assert "needs training images (--train DATA)" in str(plan)
    plan = snellen.treatment_plan(blind, garments()["train"], findings="worst_class")
    (one,) = plan.prescriptions
    names = [treatment.name for treatment in one.ladder]
    assert names.index("last_layer_retraining") < names.index("balanced_tuning"), "the cheaper first"
    assert "held out" in plan.notes[0]
    few = snellen.treatment_plan(blind, garments()["train"], val=garments()["val"].limit(120), findings="worst_class")
    assert few.notes[1] == (
        "One of these 60 images is 1.7% of accuracy, more than a treatment may cost (1.0%): give more with --val, or "
        "allow more with --max-loss."
    )
    many = snellen.treatment_plan(blind, garments()["train"], val=garments()["val"], findings="worst_class")
    assert not any("One of these" in note for note in many.notes), "150 images"
    # What did not do is tried next for longer, and of one treatment in two plans the longer is carried out.
    tuning, longer = one.ladder[names.index("balanced_tuning") :][:2]
    assert longer.plan.rate == pytest.approx(3 * tuning.plan.rate)
    assert longer.plan.epochs == 3 * tuning.plan.passes(480)
    assert (tuning.slight, longer.slight) == (False, True)
    assert f"balanced_tuning, then balanced_tuning of {longer.plan.epochs} passes" in str(plan).splitlines()[0]
    pair = [replace(one, kind=kind, ladder=(step,)) for kind, step in (("a", longer), ("b", tuning))]
    assert next_treatments(pair, {"a": 0, "b": 0}) == next_treatments(pair[::-1], {"a": 0, "b": 0}) == (longer,)
    named = snellen.treatment_plan(blind, garments()["train"], findings="worst_class", treatments=["balanced_tuning"])
    assert [step.words for step in named.prescriptions[0].ladder] == ["balanced_tuning"]


def test_of_a_function_scores_are_treated_and_weights_are_not():
    network = overconfident()
    classifier = snellen.load_classifier(
        lambda images: network(torch.as_tensor(images)),
        garments()["audited"].class_names,
        preparation=classifier_of(network).preparation,
    )
    report = snellen.audit(classifier, garments()["audited"].select(range(300)), checks=CHECKS)
    made = treat(report, findings="calibration")
    assert outcome(made, "calibration") == "mended"
    assert made.findings[0].treatment == "temperature_scaling"
    assert classifier.module is None, "the audited one is as it was"
    with pytest.raises(InputError, match="balanced_tuning needs weights that can be trained, and"):
        treat(report, findings="worst_class", treatments=["balanced_tuning"])


def test_wrong_names_and_nothing_to_treat(sure):
    with pytest.raises(UnknownNameError, match="did you mean 'calibration'"):
        treat(sure, findings="calibratoin")
    with pytest.raises(InputError, match="treats none of these findings"):
        treat(sure, findings="calibration", treatments=["corruption_tuning"])
    with pytest.raises(InputError, match="needs images that are not those of the audit"):
        treat(sure, train=None, val=None, findings="calibration")
    tested = snellen.load_images("bundled:fashion-mnist")
    with pytest.raises(InputError, match="holds test images"):
        treat(sure, train=tested, findings="calibration")


def test_held_out_images_are_whole_units_of_every_class():
    sets = garments()["train"]
    units = [f"unit {row // 2}" for row in range(len(sets))]
    grouped = ImageSet(sets.source, sets.table.append_column("unit_id", pa.array(units)), sets.class_names, "grouped")
    rows = _held_out(grouped, seed=1)
    held = {units[row] for row in rows}
    rest = {units[row] for row in range(len(sets)) if row not in set(rows.tolist())}
    assert not held & rest
    assert len(set(np.asarray(grouped.labels)[rows].tolist())) == 10
    assert 0.15 < len(rows) / len(sets) < 0.25


def test_the_audited_images_are_no_test_set_of_their_own(sure):
    with pytest.raises(InputError, match="0 labelled images are left"):
        treat(sure, findings="calibration", test=garments()["audited"])


def test_images_that_lack_a_class_are_refused(blind):
    train = garments()["train"]
    few = train.select(np.flatnonzero(train.labels != 8))
    with pytest.raises(InputError, match="has no image of Bag, which the audited images hold"):
        treat(blind, train=few, findings="worst_class")


def test_training_images_that_validate_are_not_trained_on(blind):
    whole = garments()["train"]
    plan = snellen.treatment_plan(blind, whole, val=whole.select(range(300)), findings="worst_class")
    assert "300 training images are also validation images, and were not trained on." in plan.notes
    with pytest.raises(InputError, match="every training image is also a validation image"):
        treat(blind, train=whole, val=whole, findings="worst_class")


def test_weights_that_changed_since_the_audit_are_refused():
    report = snellen.audit(classifier_of(overconfident()), garments()["audited"].select(range(200)), checks=CHECKS)
    with torch.no_grad():
        next(report.subject.classifier.module.parameters()).add_(0.1)
    with pytest.raises(InputError, match="its weights have changed since; audit it again"):
        treat(report, findings="calibration")


def test_a_run_under_pseudonyms_is_refused_before_any_name_is_written(tmp_path):
    report = snellen.audit(
        classifier_of(overconfident()),
        garments()["audited"].select(range(200)),
        checks=CHECKS,
        out=tmp_path / "run",
        pseudonyms=tmp_path / "key.json",
    )
    assert not (tmp_path / "run" / "inputs.json").exists()
    for run in (report, tmp_path / "run"):
        with pytest.raises(InputError, match="replaced names by pseudonyms"):
            treat(run, findings="calibration", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_only_as_many_training_images_are_read_as_are_used(blind, monkeypatch):
    read = []
    source = type(garments()["train"].source)
    hashed = source.content_hash
    monkeypatch.setattr(source, "content_hash", lambda self, row: read.append((id(self), row)) or hashed(self, row))
    train = garments()["train"]
    Case.of(blind, train, val=garments()["val"], findings="worst_class", train_limit=200)
    assert len({row for owner, row in read if owner == id(train.source)}) == 200


def test_a_package_that_is_missing_is_named_in_the_plan_and_nothing_breaks(blind, monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    plan = snellen.treatment_plan(blind, garments()["train"], val=garments()["val"], findings="worst_class")
    (one,) = plan.prescriptions
    assert "last_layer_retraining" in [treatment.name for treatment in one.ladder]
    assert "balanced_tuning" in one.refused
    assert "needs the package 'accelerate'; install it with: pip install 'snellen[train]'" in str(plan)
    made = treat(blind, findings="worst_class")
    assert outcome(made, "worst_class:Bag") == "mended"
    assert any(note.startswith("Not tried: ") and "balanced_tuning" in note for note in made.notes)
