"""The experiment of system 24 in seconds, its controls, and the full one with the true parts at a small size."""

import numpy as np
import pytest
import torch
from torch import nn

import snellen
from snellen.core.errors import InputError
from snellen.core.progress import Silent
from snellen.core.system import find_system
from snellen.data.files.joining import join
from snellen.forgetting import Retraining
from snellen.reproduction.worst_case_forget_set import experiment, full
from snellen.reproduction.worst_case_forget_set.experiment import SMALL, SMOKE, Experiment, worst_case_forget_set
from snellen.systems.worst_case_forget_set.search import ForgetSearch


@pytest.fixture(scope="module")
def smoke():
    return worst_case_forget_set("smoke", 0, Silent())


@pytest.mark.smoke
def test_the_smoke_scale_gives_every_figure_of_the_claims(smoke):
    system = find_system("worst_case_forget_set")
    named = {gate.metric for gate in system.gates}
    for claim in system.claims:
        named |= {claim.metric, *claim.controls, *([claim.baseline] if claim.baseline else [])}
    assert named <= set(smoke)
    assert all(np.isfinite(value) for value in smoke.values())


def test_gaps_are_means_over_the_methods(smoke):
    for name in ("worst", "random"):
        each = [smoke[f"{name}.{method}_gap"] for method in experiment.METHODS]
        assert smoke[f"{name}.gap"] == pytest.approx(np.mean(each))
        assert len(each) == 6


def test_train_and_test_images_are_apart_and_some_labels_are_wrong():
    made = Experiment(SMOKE, 3, Silent())
    train, test = set(made.case.store.ids), set(made.case.test.ids)
    assert not train & test
    assert (len(train), len(test)) == (SMOKE.train, SMOKE.test)
    true = snellen.load_images("bundled:fashion-mnist")
    places = {one: row for row, one in enumerate(true.ids)}
    labels = true.labels[[places[one] for one in made.case.store.ids]]
    wrong = (labels != made.case.store.targets.numpy()).sum()
    assert 0 < wrong <= 0.2 * SMOKE.train
    other = Experiment(SMOKE, 4, Silent())
    assert set(other.case.store.ids) != train


def test_every_retraining_has_the_numbers_of_the_training(monkeypatch):
    plans = []

    def watched(network, examples, plan, call, *given, **options):
        plans.append(plan)
        return network

    monkeypatch.setattr(experiment, "fit_network", watched)
    made = Experiment(SMOKE, 0, Silent())
    assert plans == [made.exact.plan]


def test_a_method_that_diverges_has_the_largest_gap():
    made = Experiment(SMOKE, 0, Silent())
    rows = torch.arange(6)
    judgement, _ = made.forgotten(made.exact, rows, "exact")
    method = experiment.METHODS["ft"].model_copy(update={"learning_rate": 1e30, "epochs": 3})
    assert made.gap(method, rows, judgement, "ft") == 1.0


def test_the_small_scale_searches_by_the_defaults():
    assert SMALL.search == ForgetSearch(batch_size=128)


def test_the_full_scale_names_what_it_needs(monkeypatch):
    for name in (full.MODEL, full.DATA, full.FOLDER):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match="SNELLEN_FORGET_MODEL, SNELLEN_FORGET_DATA, SNELLEN_FORGET_FOLDER"):
        worst_case_forget_set("full", 0, Silent())


def test_the_full_scale_runs_with_a_resnet_18_of_the_true_shapes(monkeypatch, tmp_path):
    """The class of torchvision at its width and depth, 32 pixels, batches of 256; few images and passes."""
    torchvision = pytest.importorskip("torchvision")
    monkeypatch.setenv(full.FOLDER, str(tmp_path / "out"))
    monkeypatch.setenv(full.MODEL, "a reference")
    monkeypatch.setenv(full.DATA, "another")
    world = "optotypes:scenes?count=20&shapes=star,heart&size=32"
    images = join([snellen.load_images(f"{world}#{split}") for split in ("train", "test")])
    torch.manual_seed(0)
    network = torchvision.models.resnet18(num_classes=2)
    network.conv1, network.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    model = snellen.Classifier(
        network.eval(), class_names=images.class_names, preparation=snellen.Preparation(size=(32, 32)), name="resnet"
    )
    monkeypatch.setattr(full, "load_classifier", lambda *_, **__: model)
    monkeypatch.setattr(full, "load_images", lambda *_: images)
    methods = {"ft": "fine_tuning", "eu_1": "exact_last_layers"}
    monkeypatch.setattr(full, "METHODS", methods)
    monkeypatch.setattr("snellen.systems.worst_case_forget_set.studying.FACTORS", (1.0,))
    found = full.full(
        0, Silent(), search=ForgetSearch(upper_steps=1, epochs=1, rate=1e-3), exact=Retraining(plan={"epochs": 1}),
        tuned=1, random_sets=1,
    )  # fmt: skip
    named = {"fit", "worst.overlap_with_start", "worst.gap", "random.gap", "worst.exact_ua", "random.exact_ta"}
    assert named <= set(found)
    assert all(value is not None and 0 <= value <= 1 for value in found.values())
    at_full = [claim for claim in find_system("worst_case_forget_set").claims if "full" in claim.scales]
    assert {claim.id for claim in at_full} == {"24.a", "24.b", "24.c", "24.f"}
