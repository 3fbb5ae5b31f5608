"""The experiment of system 24 in seconds, its controls, and the full one with the true parts at a small size."""

from dataclasses import replace

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


def test_the_smoke_scale_gives_every_figure_of_the_claims(smoke):
    system = find_system("worst_case_forget_set")
    named = {gate.metric for gate in system.gates}
    for claim in system.claims:
        named |= {claim.metric, *claim.controls, *([claim.baseline] if claim.baseline else [])}
    assert named <= set(smoke)
    assert all(np.isfinite(value) for value in smoke.values())


def test_gaps_are_means_over_the_methods(smoke):
    for name in ("worst", "random", "held_out"):
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


def test_a_method_that_diverges_has_no_gap_and_is_not_chosen():
    made = Experiment(SMOKE, 0, Silent())
    rows = torch.arange(6)
    judgement, _ = made.forgotten(made.exact, rows, "exact")
    method = experiment.METHODS["ft"].model_copy(update={"learning_rate": 1e30, "epochs": 3})
    assert made.gap(method, rows, judgement, "ft") is None
    made.size = replace(SMOKE, rates=(1e30, 1e-2), tuned=3)
    assert made.tuned("ft", method, rows, judgement).learning_rate == 1e-2


def test_a_method_that_diverges_has_no_figure(monkeypatch):
    monkeypatch.setattr(Experiment, "gap", lambda *given: None if given[-1] == "scrub" else 0.25)
    found = worst_case_forget_set("smoke", 0, Silent())
    assert (found["random.ft_gap"], found["random.scrub_gap"], found["random.gap"]) == (0.25, None, None)


def test_the_set_on_which_rates_are_chosen_is_in_no_random_figure(monkeypatch):
    """Gap of a call: 1 on the first random set, 0.5 on the last, 0.25 on all others."""
    made = Experiment(SMOKE, 0, Silent())
    randoms, gaps = list[tuple[int, ...]](), {}

    def sets(found):
        held = original(found)
        randoms.extend(tuple(rows.tolist()) for name, rows in held.items() if name.startswith("random"))
        gaps.update(dict.fromkeys(randoms, 0.25) | {randoms[0]: 1.0, randoms[-1]: 0.5})
        return held

    original = made.sets
    monkeypatch.setattr(made, "sets", sets)
    monkeypatch.setattr(made, "gap", lambda _, rows, *__: gaps.get(tuple(rows.tolist()), 0.125))
    found = made.figures()
    assert len(randoms) == SMOKE.random_sets
    assert (found["worst.gap"], found["random.gap"], found["held_out.gap"]) == (0.125, 0.25, 0.5)
    assert SMALL.random_sets - 2 >= 3


def test_a_search_that_does_not_move_closes_the_gate():
    """The default start is uniform: without a step nothing is selected, and only the weights show it."""
    size = replace(SMOKE, search=SMOKE.search.model_copy(update={"step": 1e-12}))
    found = dict[str, float]()
    Experiment(size, 0, Silent()).sets(found)
    gate = next(one for one in find_system("worst_case_forget_set").gates if one.id == "moves")
    assert (gate.metric, gate.direction) == ("worst.moved", ">")
    assert found[gate.metric] < gate.threshold


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
    world = "optotypes:scenes?count=10&shapes=star,heart&size=32"
    images = join([snellen.load_images(f"{world}#{split}") for split in ("train", "test")])
    torch.manual_seed(0)
    network = torchvision.models.resnet18(num_classes=2)
    network.conv1, network.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    model = snellen.Classifier(
        network.eval(), class_names=images.class_names, preparation=snellen.Preprocessing(size=(32, 32)), name="resnet"
    )
    monkeypatch.setattr(full, "load_classifier", lambda *_, **__: model)
    monkeypatch.setattr(full, "load_images", lambda *_: images)
    methods = {"ft": "fine_tuning", "eu_1": "exact_last_layers"}
    monkeypatch.setattr(full, "METHODS", methods)
    monkeypatch.setattr("snellen.systems.worst_case_forget_set.studying.FACTORS", (1.0,))
    found = full.full(
        0, Silent(), search=ForgetSearch(upper_steps=1, epochs=1, rate=1e-3), exact=Retraining(plan={"epochs": 1}),
        tuned=1, random_sets=3,
    )  # fmt: skip
    named = {
        "fit",
        "worst.moved",
        "worst.overlap_with_lowest",
        "held_out.gap",
        "worst.gap",
        "random.gap",
        "worst.exact_ua",
        "random.exact_ta",
    }
    assert named <= set(found)
    assert all(value is not None and 0 <= value <= 1 for value in found.values())
    at_full = [claim for claim in find_system("worst_case_forget_set").claims if "full" in claim.scales]
    assert {claim.id for claim in at_full} == {"24.a", "24.b", "24.c", "24.f"}
