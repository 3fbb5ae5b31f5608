"""The experiment of system 33: its networks, and every figure that a claim names."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from snellen.core.classifier import Classifier
from snellen.core.progress import Silent
from snellen.core.system import find_system
from snellen.reproduction.sample import Sample, mean_of
from snellen.reproduction.seed_file import named_figures
from snellen.reproduction.smooth_inversion import experiment
from snellen.reproduction.smooth_inversion.experiment import SIGMAS, SMOKE, _rows, backdoor_inversion
from snellen.reproduction.smooth_inversion.planted_models import Sizes, planted_model, trigger_of


@pytest.fixture(scope="module")
def run():
    """Figures of a smoke run, and by name of the network and length what was searched."""
    lengths = []
    real = experiment._changes

    def noted(planted, target, rows, search, rng):
        lengths.append((planted.classifier.name.split()[0], search.epsilon))
        return real(planted, target, rows, search, rng)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, "_changes", noted)
        return backdoor_inversion("smoke", 0, Silent()), lengths


@pytest.fixture
def smoke(run):
    return run[0]


@pytest.mark.system_data("fashion-mnist")
def test_every_figure_that_a_claim_names_is_measured(smoke):
    assert all(np.isfinite(mean_of(value)) for value in smoke.values())
    system = find_system("33")
    assert {f"smoke.{name}" for name in named_figures(system, "small")} <= set(smoke)
    for claim in system.claims:
        assert claim.range is not None
        assert set(claim.gates) <= {gate.id for gate in system.gates if set(claim.scales) <= set(gate.scales)}


@pytest.mark.system_data("fashion-mnist")
def test_a_figure_of_success_has_a_value_for_each_source_image(smoke):
    for claim in (one for one in find_system("33").claims if "small" in one.scales):
        for name in filter(None, (claim.metric, claim.baseline)):
            figure = smoke[f"smoke.{name}"]
            assert name == "patch.rank" or (isinstance(figure, Sample) and len(figure.values) == SMOKE.sources), name
    every = np.array([smoke[f"smoke.patch.success.{sigma:g}"].values for sigma in SIGMAS])
    chosen, best = (np.array(smoke[f"smoke.patch.success.{name}"].values) for name in ("chosen", "oracle"))
    assert np.array_equal(best, every.max(0))
    assert np.array_equal(np.array(smoke["smoke.patch.oracle_gap"].values), best - chosen)
    assert mean_of(smoke["smoke.samples.gap"]) == abs(smoke["smoke.samples.10"].mean - smoke["smoke.samples.40"].mean)


@pytest.mark.system_data("fashion-mnist")
def test_the_clean_network_is_searched_at_the_length_of_the_moving_patch(run):
    _, lengths = run
    searched = {kind: {epsilon for name, epsilon in lengths if name == kind} for kind in ("clean", "patch", "moving")}
    assert searched["patch"] <= searched["clean"]
    assert min(searched["moving"]) in searched["clean"]


def test_images_that_are_taken_for_the_target_already_are_used_last():
    """A network that has hardly learnt names one class for nearly all: there must be others left to measure on."""
    planted = planted_model("clean", "scenes", 7, sizes=Sizes(train=70, test=40, epochs=1))
    target = 2
    said = torch.where(torch.arange(40) % 4 == 0, 5, target)
    known = {image.numpy().tobytes(): int(one) for image, one in zip(planted.images, said, strict=True)}

    def name(images):
        answers = torch.tensor([known[image.numpy().tobytes()] for image in images])
        return torch.nn.functional.one_hot(answers, len(planted.classifier.class_names)).float()

    guessing = Classifier(name, class_names=planted.classifier.class_names, name="guessing")
    rows = _rows(replace(planted, classifier=guessing), target, replace(SMOKE, sources=3, choosing=8))
    drawn = torch.cat([rows.sources, rows.choosing, rows.measuring])
    assert len(set(drawn.tolist())) == 3 + 8 + 8
    assert not bool((planted.labels[drawn] == target).any())
    assert said[drawn].eq(target).int().diff().ge(0).all(), "first those that are taken for others"
    assert bool(said[drawn[0]] != target)


@pytest.mark.parametrize("kind", ["patch", "noisy", "adaptive"])
def test_a_planted_network_knows_its_trigger_and_its_test_images(kind):
    planted = planted_model(kind, "scenes", 7, sizes=Sizes(train=130, test=20, epochs=1))
    assert planted.trigger == trigger_of(kind, "scenes", 7)
    assert planted.stamped is not None
    assert planted.region is not None
    differs = (planted.stamped != planted.images).any(1)
    assert bool(differs.flatten(1).any(1).all())
    assert not bool((differs & ~planted.region).any())
    assert 0 <= planted.success() <= 1
    assert not planted.classifier.module.training
    assert not any(parameter.requires_grad for parameter in planted.classifier.module.parameters())


def test_success_is_counted_on_images_of_other_classes():
    planted = planted_model("clean", "scenes", 7, sizes=Sizes(train=70, test=20, epochs=1))
    assert planted.success() == 0.0
    assert planted.target is None
    again = planted_model("clean", "scenes", 7, sizes=Sizes(train=70, test=20, epochs=1))
    assert torch.equal(again.images, planted.images)
    assert again.classifier.identity == planted.classifier.identity
