"""The verb treat: what it opens, what it tries, how it proves, and what it leaves behind."""

from __future__ import annotations

import copy
import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pytest
import torch

import snellen
from snellen.auditing.report import AuditReport
from snellen.core.errors import InputError, RunConflictError, UnknownNameError
from snellen.core.finding import Finding
from snellen.core.images import ImageSet
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
from snellen.verbs.treatment_case import Case, _held_out
from snellen.verbs.treatment_proof import ProvingImages
from snellen.verbs.treatment_search import next_treatments
from tests.verbs.ill_classifiers import SEEN, blind_to, classifier_of, garments, overconfident

CHECKS = ["clean", "calibration"]


@pytest.fixture(scope="module")
def sure(tmp_path_factory: pytest.TempPathFactory) -> AuditReport:
    """An audit of a classifier that is much too sure."""
    folder = tmp_path_factory.mktemp("sure") / "run"
    return snellen.audit(classifier_of(overconfident()), garments()["audited"], checks=CHECKS, out=folder)


@pytest.fixture(scope="module")
def blind(tmp_path_factory: pytest.TempPathFactory) -> AuditReport:
    """An audit of a classifier that never decides for bags."""
    folder = tmp_path_factory.mktemp("blind") / "run"
    return snellen.audit(classifier_of(blind_to(8)), garments()["audited"], checks=["clean"], out=folder)


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
    with pytest.raises(InputError, match=r"does not say how its classifier was loaded.*--model"):
        treat(sure.folder)
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


def test_halves_share_no_image_and_a_test_set_is_taken_whole():
    sets = garments()
    halved = ProvingImages.of(sets["audited"], None, [sets["train"]], preparation=SEEN)
    assert not set(halved.proving.ids) & set(halved.selecting.ids)
    assert abs(len(halved.proving) - len(halved.selecting)) <= 1
    whole = ProvingImages.of(sets["audited"], sets["val"], [sets["train"]], preparation=SEEN)
    assert whole.proving.ids == sets["val"].ids
    assert whole.selecting is None


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
    # What did not do is tried at last for longer, and of one treatment in two plans the longer is carried out.
    tuning, longer = one.ladder[names.index("balanced_tuning")], one.ladder[-1]
    assert longer.plan.epochs == 3 * tuning.plan.passes(480)
    assert str(plan).splitlines()[0].endswith(f", then balanced_tuning of {longer.plan.epochs} passes")
    pair = [replace(one, kind=kind, ladder=(step,)) for kind, step in (("a", longer), ("b", tuning))]
    assert next_treatments(pair, {"a": 0, "b": 0}) == next_treatments(pair[::-1], {"a": 0, "b": 0}) == (longer,)
    named = snellen.treatment_plan(blind, garments()["train"], findings="worst_class", treatments=["balanced_tuning"])
    assert [step.words for step in named.prescriptions[0].ladder] == ["balanced_tuning"]


def test_a_server_or_a_function_has_no_weights_to_treat():
    network = overconfident()
    classifier = snellen.load_classifier(
        lambda images: network(torch.as_tensor(images)),
        garments()["audited"].class_names,
        preparation=classifier_of(network).preparation,
    )
    report = snellen.audit(classifier, garments()["audited"].select(range(300)), checks=CHECKS)
    made = treat(report, findings="calibration")
    assert outcome(made, "calibration") == "untreated"
    assert "has none here" in made.findings[0].reason


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
    with pytest.raises(InputError, match=r"kinds worst_class, group_gap, and none of these is one: calibration"):
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


def test_only_as_many_training_images_are_read_as_are_used(blind, monkeypatch):
    read = []
    source = type(garments()["train"].source)
    hashed = source.content_hash
    monkeypatch.setattr(source, "content_hash", lambda self, row: read.append((id(self), row)) or hashed(self, row))
    train = garments()["train"]
    Case.of(blind, train, val=garments()["val"], findings="worst_class", train_limit=200)
    assert len({row for owner, row in read if owner == id(train.source)}) == 200


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
