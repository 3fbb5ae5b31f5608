"""The verb treat: what it tries, how it proves, and what it leaves behind."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch

import snellen
from snellen.auditing.report import AuditReport
from snellen.core.errors import InputError, RunConflictError
from snellen.core.evidence import Evidence
from snellen.core.finding import Finding
from snellen.core.randomness import Randomness
from snellen.methods.synthesis.by_name import ByName
from snellen.methods.treatments.class_balance import BalancedTuning
from snellen.methods.treatments.synthesized_images import SynthesizedImages
from snellen.methods.treatments.treatment import Stage, Treating, Treatment, fine_tuned
from snellen.models.classifiers.trainable import trainable
from snellen.testing.treating import small_patient
from snellen.training.fine_tuning import TuningPlan, fine_tune
from snellen.verbs.treat import _generated
from snellen.verbs.treated import Treated
from snellen.verbs.treatment_case import Case
from tests.verbs.ill_classifiers import classifier_of, garments, overconfident

CHECKS = ["clean", "calibration"]


def treat(report: AuditReport | Path, **changes) -> Treated:
    given = {"train": garments()["train"], "val": garments()["val"], **changes}
    return snellen.treat(report, **given)


def outcome(made: Treated, key: str) -> str:
    return next(one.outcome for one in made.findings if one.key == key)


def test_overconfidence_is_mended_without_training_and_at_no_cost(sure):
    made = treat(sure, train=None, findings="calibration")
    assert outcome(made, "calibration") == "mended"
    assert made.cost is not None
    assert abs(made.cost.difference) <= 0.01
    assert made.comparison is not None
    error = next(one for one in made.comparison.figures if one.name == "calibration.ece")
    assert error.high is not None
    assert error.high < 0, "paired, on images that fitted nothing"


def test_a_class_that_is_never_right_is_mended_in_seconds(blind):
    made = treat(blind, findings=["worst_class:Bag"])
    (found,) = made.findings
    assert found.outcome == "mended"
    assert found.high is not None
    assert found.high < -0.3
    assert made.cost is not None
    assert made.cost.difference > 0.05, "a class of ten is back"


def test_the_audited_classifier_stays_as_it_was(sure):
    classifier = sure.subject.classifier
    before = copy.deepcopy(classifier.module.state_dict())
    made = treat(sure, findings="calibration")
    after = classifier.module.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(one.requires_grad for one in classifier.module.parameters())
    assert made.module is not classifier.module
    assert made.classifier.class_names == classifier.class_names


def test_a_finding_that_half_of_the_images_do_not_show_is_not_called_mended():
    few = garments()["audited"].select(range(100))
    report = snellen.audit(classifier_of(overconfident(1.0, noise=2.0)), few, checks=CHECKS)
    made = treat(report, findings="calibration")
    assert outcome(made, "calibration") == "unproven"
    assert "--test" in made.findings[0].reason


def test_an_unfinished_treatment_goes_on_and_ends_the_same(blind, tmp_path):
    class Stopping:
        audits = 0

        def begin(self, task, total):
            self.audits += task == "audit"
            if self.audits == 3:
                raise KeyboardInterrupt

        def advance(self, task, amount, note=""):
            pass

        def finish(self, task):
            pass

    whole = treat(blind, findings="worst_class", out=tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        treat(blind, findings="worst_class", out=tmp_path / "cut", progress=Stopping())
    assert (tmp_path / "cut" / "treating.json").exists()
    assert not (tmp_path / "cut" / "treatment.json").exists()
    with pytest.raises(RunConflictError, match="differs from this one in: max_loss"):
        treat(blind, findings="worst_class", out=tmp_path / "cut", max_loss=0.5)
    cut = treat(blind, findings="worst_class", out=tmp_path / "cut")
    assert cut.to_json() == whole.to_json()
    with pytest.raises(InputError, match="name a new one with --out"):
        treat(blind, findings="worst_class", out=tmp_path / "cut")
    record = json.loads((tmp_path / "cut" / "treatment.json").read_text(encoding="utf-8"))
    assert [one["outcome"] for one in record["findings"]] == [one.outcome for one in cut.findings]


def test_the_result_names_the_scan_whose_suspects_were_left_out(sure, tmp_path):
    data = garments()["train"]
    (tmp_path / "scanned").mkdir()
    reasons = ["suspect", "suspect", *[None] * (len(data) - 2)]
    Evidence.of(data.ids, setting="training_set", model="m", reason=reasons).write(
        tmp_path / "scanned" / "evidence.parquet"
    )
    made = treat(sure, findings="calibration", without=tmp_path / "scanned", out=tmp_path / "made")
    words = "Left out of the training images: 2 that the scan scanned named as suspects"
    assert any(note.startswith(words) for note in made.notes)
    record = json.loads((tmp_path / "made" / "treatment.json").read_bytes())
    assert any(note.startswith(words) for note in record["notes"])
    assert words in (tmp_path / "made" / "README.md").read_text()
    with pytest.raises(InputError, match="name these images, too"):
        treat(sure, train=None, findings="calibration", without=tmp_path / "scanned")


class Vandal(Treatment):
    """Makes scores better calibrated and useless: every image is of the first class, by a little."""

    name: ClassVar[str] = "vandal"
    treats: ClassVar[tuple[str, ...]] = ("calibration",)
    stage: ClassVar[Stage] = Stage.SCORES
    trains: ClassVar[bool] = False

    def treated(self, network, patient, call):
        layers = [one for one in network.modules() if isinstance(one, torch.nn.Linear)]
        with torch.no_grad():
            layers[-1].weight.zero_()
            layers[-1].bias.zero_()
        return network


def test_nothing_is_delivered_that_costs_more_than_was_allowed(sure, tmp_path):
    made = treat(sure, findings="calibration", treatments=[Vandal()], out=tmp_path / "out")
    assert not made.delivered
    assert made.reference is None
    assert outcome(made, "calibration") == "unchanged"
    assert made.classifier is sure.subject.classifier
    assert not (tmp_path / "out" / "weights.safetensors").exists()
    assert "Nothing is delivered" in "\n".join(made.lines())


def test_the_next_treatment_is_tried_where_the_first_does_not_help(sure):
    made = treat(sure, findings="calibration", treatments=[Vandal(), "temperature_scaling"])
    assert [words.split(":")[0] for words in made.tried] == ["vandal", "temperature_scaling"]
    assert outcome(made, "calibration") == "mended"


def test_a_generator_makes_images_of_a_class_that_is_missing_and_only_where_it_is_named(blind, sure):
    train = garments()["train"]
    few = train.select(np.flatnonzero(train.labels != 8))
    known = {"val": garments()["val"], "findings": "worst_class"}
    plan = snellen.treatment_plan(blind, train, **known)
    assert "Not tried: synthesized_images (needs a generator of images (--generator REF))." in plan.lines()
    maker = ByName(words={"Bag": "square"})
    plan = snellen.treatment_plan(blind, few, generator=maker, **known)
    assert "synthesized_images" in [one.name for one in plan.prescriptions[0].ladder]
    with pytest.raises(InputError, match="has no image of Pullover"):
        snellen.treatment_plan(blind, train.select(np.flatnonzero(train.labels != 2)), generator=maker, **known)
    with pytest.raises(InputError, match=r"kinds group_gap, shortcut, worst_class, and none .*: calibration"):
        snellen.treatment_plan(sure, train, val=garments()["val"], findings="calibration", generator=maker)
    with pytest.raises(InputError, match="diffusers:FOLDER"):
        snellen.treatment_plan(blind, train, generator="nowhere", **known)


def test_pictures_of_generated_images_stand_beside_the_classifier(blind, tmp_path):
    maker = ByName(words={"Bag": "square"}, steps=1)
    treatment = {"method": "synthesized_images", "count": 3, "plan": {"epochs": 4, "rate": 0.03}}
    given = {"findings": "worst_class", "treatments": [treatment], "generator": maker, "max_loss": 0.2}
    made = treat(blind, **given, out=tmp_path / "out")
    assert (tmp_path / "out" / "generated" / "sheet.png").is_file()
    assert "Trained on 3 generated images; generated/sheet.png shows some." in made.notes
    assert made.treatments[0]["count"] == 3


def test_no_picture_of_a_generated_image_is_written_where_pictures_are_withheld(tmp_path):
    found = Finding(kind="worst_class", subject="dark", harm=0.3, title="planted")
    case = SimpleNamespace(
        patient=replace(small_patient(found), generator=ByName(words={"dark": "star"}, steps=1)),
        subject=SimpleNamespace(save_images=False),
        seed=0,
    )
    chosen = SimpleNamespace(treatments=(SynthesizedImages(count=2), BalancedTuning()))
    assert _generated(case, chosen, tmp_path) == ("Trained on 2 generated images.",)
    assert not list(tmp_path.iterdir())


def test_another_generator_does_not_go_on_with_a_treatment(blind):
    sets = {"val": garments()["val"], "findings": "worst_class"}
    requests = [
        Case.of(blind, garments()["train"], generator=maker, **sets).request(None)
        for maker in (None, ByName(), ByName(templates=("a red {}",)))
    ]
    assert requests[0] != requests[1] != requests[2] != requests[0]


def test_what_cannot_be_written_is_still_treated_and_proven(sure, tmp_path, monkeypatch):
    def broken(*_: object) -> None:
        raise InputError("the disk of the test is full")

    monkeypatch.setattr("snellen.verbs.treat.delivered", broken)
    made = treat(sure, findings="calibration", out=tmp_path / "out")
    assert outcome(made, "calibration") == "mended"
    assert made.reference is None
    assert "Not written: the disk of the test is full" in made.notes
    assert (tmp_path / "out" / "treatment.json").is_file()
    assert not (tmp_path / "out" / "candidates").exists()


def test_what_is_fitted_to_validation_images_is_judged_by_others(blind):
    case = Case.of(blind, garments()["train"], val=garments()["val"], findings="worst_class")
    fitting, judging = set(case.patient.val.ids), set(case.val.ids)
    assert not fitting & judging
    assert fitting | judging == set(garments()["val"].ids)
    assert abs(len(fitting) - len(judging)) <= 1
    with pytest.raises(InputError, match="needs 40 validation images at least"):
        treat(blind, train=None, val=garments()["val"].select(range(39)), findings="worst_class")


def test_more_time_tries_no_other_candidate_once_the_audit_was_opened(sure, tmp_path):
    class Stopping:
        begun = 0

        def begin(self, task, total):
            self.begun += task == "audit"
            if self.begun == 4:  # before, one candidate, and the half that selects
                raise KeyboardInterrupt

        def advance(self, task, amount, note=""):
            pass

        def finish(self, task):
            pass

    ways = {"findings": "calibration", "treatments": [Vandal(), "temperature_scaling"], "max_loss": 1.0}
    short = treat(sure, **ways, budget=1e-9, out=tmp_path / "short")
    assert len(short.tried) == 1
    with pytest.raises(KeyboardInterrupt):
        treat(sure, **ways, budget=1e-9, out=tmp_path / "cut", progress=Stopping())
    note = json.loads((tmp_path / "cut" / "treating.json").read_bytes())
    assert note["begun"] == [0, None]
    assert note["ended"]
    assert treat(sure, **ways, out=tmp_path / "cut").to_json() == short.to_json()


def test_a_fine_tuning_that_costs_too_much_goes_back_a_part_of_the_way():
    case = small_patient()
    plan = TuningPlan(steps=60, batch_size=8, rate=0.5)

    def share(most: float) -> float:
        network = trainable(case.classifier)
        before = {name: one.clone() for name, one in network.state_dict().items()}
        tuned = fine_tuned(
            [BalancedTuning(plan=plan)], network, replace(case, max_loss=most), Treating(Randomness(0))
        ).state_dict()
        free = fine_tune(
            trainable(case.classifier),
            case.training,
            [BalancedTuning().term(case, rng=Randomness(0).child("balanced_tuning"))],
            plan=plan,
            rng=Randomness(0),
        ).state_dict()
        name = next(name for name, one in before.items() if one.is_floating_point() and one.ndim > 1)
        return float((tuned[name] - before[name]).norm() / (free[name] - before[name]).norm())

    assert share(1.0) == pytest.approx(1.0)
    assert share(-1.0) == pytest.approx(0.25), "no share of the way gains a whole accuracy: the smallest is taken"


class Hesitant(Vandal):
    """Divides scores by a little more than one: helps, and not enough."""

    name: ClassVar[str] = "hesitant"

    def treated(self, network, patient, call):
        layers = [one for one in network.modules() if isinstance(one, torch.nn.Linear)]
        with torch.no_grad():
            layers[-1].weight.div_(1.6)
            layers[-1].bias.div_(1.6)
        return network


def test_the_candidate_that_helps_most_is_delivered_and_not_the_first_that_helps(sure):
    first = treat(sure, findings="calibration", treatments=[Hesitant()])
    assert first.delivered
    both = treat(sure, findings="calibration", treatments=[Hesitant(), "temperature_scaling"])
    assert len(both.tried) == 2
    assert [one["method"] for one in both.treatments] == ["temperature_scaling"]


class Unable(Vandal):
    """Finds on its way that it cannot treat this classifier."""

    name: ClassVar[str] = "unable"

    def treated(self, network, patient, call):
        raise InputError("the judge reads few of the images rightly")


def test_a_treatment_that_cannot_be_carried_out_does_not_end_the_others(sure, tmp_path):
    made = treat(sure, findings="calibration", treatments=[Unable(), "temperature_scaling"])
    assert made.tried[0] == "unable: not possible here: the judge reads few of the images rightly"
    assert outcome(made, "calibration") == "mended"
    alone = treat(sure, findings="calibration", treatments=[Unable()], out=tmp_path / "out")
    assert not alone.delivered
    assert outcome(alone, "calibration") == "unchanged"
    assert "not possible here" in alone.tried[0]
