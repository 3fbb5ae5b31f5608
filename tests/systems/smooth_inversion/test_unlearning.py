"""A backdoor is treated: the true trigger, which no treatment knows, hardly works afterwards."""

from dataclasses import replace

import pytest
import torch

import snellen
from snellen.core.finding import Finding
from snellen.core.randomness import Randomness
from snellen.methods.treatments.treatment import Patient
from snellen.models.classifiers.trainable import trainable
from snellen.systems.smooth_inversion.check import BackdoorCheck
from snellen.systems.smooth_inversion.kept_changes import read_changes
from snellen.systems.smooth_inversion.unlearning import TriggerUnlearning
from snellen.training.batches import Batch, ImageStore
from snellen.training.fine_tuning import TuningPlan, fine_tune
from snellen.verbs.treatment_plan import affected_checks, searching
from tests.systems.smooth_inversion.toy_models import (
    NAMES,
    TARGET,
    accuracy,
    classifier,
    image_set,
    pixels,
    planted,
    success,
)

CHECK = BackdoorCheck(epsilon=0.7, steps=10, refined_steps=25, sources=2, images=100, copies=0)

#: Clean images to train on: 5 % of those that the network was trained on.
FEW = 80

#: Steps enough for a small network.
SHORT = TuningPlan(steps=60)


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    """An audit of the planted network."""
    folder = tmp_path_factory.mktemp("planted") / "run"
    return snellen.audit(planted(), image_set(240, seed=3), checks=["clean", CHECK], out=folder)


def patient(folder, subject="one"):
    stores = []
    for count, seed in ((FEW, 21), (160, 22)):
        shown, labels = pixels(count, seed)
        stores.append(ImageStore.of_tensors((shown * 255).round().to(torch.uint8), labels))
    return Patient(
        planted(),
        (Finding(kind="backdoor", subject=subject, harm=0.5, title="x"),),
        stores[1],
        stores[0],
        folder=folder,
    )


def test_the_true_trigger_is_unlearned_from_few_clean_images_and_proven(audited):
    assert success(planted()) > 0.8
    assert accuracy(planted()) > 0.98
    given = {"val": image_set(160, seed=22), "findings": "backdoor", "treatments": [TriggerUnlearning(plan=SHORT)]}
    made = snellen.treat(audited, image_set(FEW, seed=21), **given)
    (found,) = made.findings
    assert (found.key, found.outcome, found.treatment) == ("backdoor:one", "mended", "trigger_unlearning")
    assert success(made.classifier) <= 0.1
    assert accuracy(made.classifier) > 0.98
    assert made.cost.difference >= -0.02


def test_the_same_steps_on_clean_images_alone_leave_more_of_it(audited):
    ill = patient(audited.folder)
    plain = fine_tune(trainable(planted()), ill.training, [], plan=SHORT, rng=Randomness(0))
    treated = TriggerUnlearning(plan=SHORT).treat(trainable(planted()), ill, rng=Randomness(0))
    left = [
        success(snellen.Classifier(one.network, class_names=NAMES, preparation=planted().preparation))
        for one in (plain, treated)
    ]
    assert left[1] < 0.1 < left[0]


def test_the_change_is_stamped_on_other_classes_under_their_labels(audited):
    term = TriggerUnlearning(weakest=1.0, strongest=1.0, shift=0).term(patient(audited.folder), rng=Randomness(0))
    (stamp,) = term.transforms
    shown, labels = pixels(12)
    changed, targets = stamp(shown, labels, Randomness(0).bind(12))
    (change,) = [one.change for one in read_changes(audited.folder) if one.target == "one"]
    assert torch.equal(targets, labels)
    assert torch.equal(changed[labels == TARGET], shown[labels == TARGET])
    assert torch.allclose(changed[labels != TARGET], (shown + change).clamp(0, 1)[labels != TARGET])


def test_strengths_lie_between_the_given_ones_and_half_of_the_changes_stay_in_place(audited):
    (change,) = [one.change for one in read_changes(audited.folder) if one.target == "one"]
    grey, labels = torch.full((200, *change.shape), 0.5), torch.full((200,), TARGET + 1)

    def stamped(**fields):
        (stamp,) = TriggerUnlearning(**fields).term(patient(audited.folder), rng=Randomness(0)).transforms
        return stamp(grey, labels, Randomness(0).bind(200))[0] - grey

    strengths = stamped(weakest=0.25, strongest=0.75, shift=0).flatten(1) @ change.flatten() / change.norm() ** 2
    assert strengths.min() == pytest.approx(0.25, abs=0.05)
    assert strengths.max() == pytest.approx(0.75, abs=0.05)
    moved = stamped(weakest=0.5, strongest=0.5, shift=1)
    in_place = torch.isclose(moved, 0.5 * change, atol=1e-5).flatten(1).all(1).float().mean()
    assert 0.4 < in_place < 0.75


def test_a_second_change_is_on_images_of_other_classes_alone(audited):
    ill, treatment = patient(audited.folder), TriggerUnlearning()
    term = treatment.term(ill, rng=Randomness(0))
    network = trainable(planted()).eval()
    for name, change in term.state.items():
        network.register_buffer(name, change.clone())
    shown, labels = pixels(40, seed=21)
    batch = Batch(shown, labels, torch.ones(40), torch.arange(40), Randomness(0).bind(40))
    losses = term.objective(network, batch)
    plain = torch.nn.functional.cross_entropy(network(shown), labels, reduction="none")
    own = labels == TARGET
    assert torch.allclose(losses[own], plain[own], atol=1e-5)
    assert bool((losses[~own] > plain[~own] + 0.01).all())


def test_a_second_change_moves_towards_the_class_and_stays_within_its_length(audited):
    ill, treatment = patient(audited.folder), TriggerUnlearning(strongest=1.0)
    term = treatment.term(ill, rng=Randomness(0))
    ((name, change),) = term.state.items()
    network = trainable(planted())
    network.register_buffer(name, torch.zeros_like(change))
    shown, labels = pixels(40, seed=21)
    batch = Batch(shown, labels, torch.ones(40), torch.arange(40), Randomness(0).bind(40))
    network.train()
    first = term.objective(network, batch).mean().item()
    for _ in range(12):
        later = term.objective(network, batch).mean().item()
    second = network.get_buffer(name)
    assert later > first, "right answers became harder"
    assert 0 < float(second.norm()) <= float(change.norm()) + 1e-5
    assert network.training, "the network is lent for the steps alone"
    assert all(one.grad is None and one.requires_grad for one in network.parameters())


def test_what_is_missing_is_refused_in_a_sentence(audited, tmp_path):
    network, treatment = trainable(planted()), TriggerUnlearning()
    assert treatment.refusal(network, patient(audited.folder)) is None
    assert "without its run directory" in treatment.refusal(network, patient(None))
    assert "keeps no recovered changes" in treatment.refusal(network, patient(tmp_path))
    assert "no change towards nothing" in treatment.refusal(network, patient(audited.folder, "nothing"))
    shown, labels = torch.zeros(8, 3, 12, 12, dtype=torch.uint8), torch.arange(8) % 4
    larger = replace(patient(audited.folder), val=ImageStore.of_tensors(shown, labels))
    assert "the classifier sees images of (3, 12, 12)" in treatment.refusal(network, larger)
    weak = TriggerUnlearning(weakest=2.0, strongest=1.0)
    assert "strengths from weakest to strongest" in weak.refusal(network, patient(audited.folder))


def test_a_run_that_keeps_nothing_to_try_is_not_treated(tmp_path):
    given = {"val": image_set(160, seed=22), "findings": "backdoor"}
    check = BackdoorCheck(epsilon=0.9, steps=10, refined_steps=25, sources=2, images=60, copies=0)
    alone = snellen.audit(classifier(), image_set(120), checks=["clean", check])
    plan = snellen.treatment_plan(alone, image_set(FEW, seed=21), **given)
    assert not plan.treated
    assert str(plan).count("audit with out=FOLDER (--out FOLDER)") == 1
    bare = snellen.audit(
        classifier(), image_set(120), checks=["clean", check], out=tmp_path / "bare", save_images=False
    )
    plan = snellen.treatment_plan(bare, image_set(FEW, seed=21), **given)
    assert not plan.treated
    assert str(plan).count("keeps no recovered changes") == 1


def test_audits_try_what_was_found_and_the_last_one_searches_too(audited):
    checks = affected_checks(audited.subject.checks, audited.findings, audited.folder)
    (tried,) = [one for one in checks if isinstance(one, BackdoorCheck)]
    assert (tried.search, tried.earlier) == (False, str(audited.folder))
    assert tried.epsilon == CHECK.epsilon
    (last,) = [one for one in searching(checks) if isinstance(one, BackdoorCheck)]
    assert (last.search, last.earlier) == (True, str(audited.folder))
    assert [one for one in searching(checks) if one.name == "clean"] == [one for one in checks if one.name == "clean"]
