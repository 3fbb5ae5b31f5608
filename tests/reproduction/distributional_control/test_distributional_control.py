"""The experiment's parts: figures of every claim, independent judges, and the full scale at the shapes of StyleGAN2."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.preprocessing import Preprocessing
from snellen.core.progress import Silent
from snellen.core.system import find_system
from snellen.models.references import load_two_tower
from snellen.reproduction.distributional_control import experiment, full
from snellen.reproduction.distributional_control.experiment import distributional_control
from snellen.reproduction.distributional_control.materials import SMOKE, Attribute
from snellen.reproduction.sample import Sample, mean_of


@pytest.fixture(scope="module")
def figures():
    return distributional_control("smoke", 0, Silent())


def wanted():
    system = find_system("distributional_control")
    names = {gate.metric for gate in system.gates}
    for claim in system.claims:
        names |= {claim.metric, *claim.controls} | ({claim.baseline} if claim.baseline else set())
    return names


def test_a_smoke_run_has_every_figure_of_every_claim(figures):
    assert wanted() <= set(figures)
    for name in ("class.hit", "joint.hit", "text.hit", "own.text_hit"):
        assert isinstance(figures[name], Sample)
        assert figures[name].share
        assert len(figures[name].values) == SMOKE.judged


def test_another_network_judges_than_the_one_that_guides():
    material = experiment.small_material()
    for attribute in (material.first, material.second):
        assert attribute.judge.identity != attribute.classifier.identity
        assert set(attribute.balanced) <= set(attribute.judge.class_names)
        assert attribute.wanted in attribute.balanced


def test_the_judge_decides_among_the_balanced_classes_and_hits_are_of_all():
    colours = nn.Flatten()
    names = ["red", "green", "blue"]
    classifier = Classifier(
        nn.Sequential(nn.AvgPool2d(4), colours), class_names=names, preparation=Preprocessing(size=(4, 4))
    )
    attribute = Attribute(classifier, classifier, "green", ("red", "green"))
    images = torch.zeros(3, 3, 4, 4)
    images[0, 1], images[1, 2], images[2, 0] = 1, 1, 1
    images[1, 1] = 0.5
    assert attribute.seen(images).tolist() == [1, 1, 0]
    assert attribute.hits(images).tolist() == [True, False, False]


def test_the_full_scale_says_what_it_takes(monkeypatch):
    for name in (full.GENERATOR, full.FIRST, full.TOWER):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match="needs SNELLEN_PROMPTGEN_GENERATOR, SNELLEN_PROMPTGEN_FIRST"):
        distributional_control("full", 0, Silent())


class Synthesis(nn.Module):
    """The interface of StyleGAN2 on faces: latents (n, 512) → (n, 3, side, side) in [−1, 1], with truncation in w."""

    def __init__(self, side):
        super().__init__()
        self.mapping, self.paint = nn.Linear(512, 512), nn.Linear(512, 3 * 16 * 16)
        self.seen, self.side = [], side

    def forward(self, latents):
        return self.truncated(latents, 1.0)

    def truncated(self, latents, truncation):
        self.seen.append(truncation)
        small = torch.tanh(self.paint(truncation * self.mapping(latents))).unflatten(1, (3, 16, 16))
        return nn.functional.interpolate(small, (self.side, self.side), mode="nearest")


def synthesis():
    torch.manual_seed(0)
    return Synthesis(1024)


def synthesis_256():
    torch.manual_seed(0)
    return Synthesis(256)


def faces(reference, device):
    """A classifier of 224 pixels, as FairFace is."""
    torch.manual_seed(len(reference))
    network = nn.Sequential(nn.AvgPool2d(28), nn.Flatten(), nn.Linear(3 * 64, 3))
    weight, bias = network[2].weight.data, network[2].bias.data
    weight.sub_(weight.mean(1, keepdim=True)).mul_(4)  # a flat image leaves every class as likely
    bias.zero_()
    return Classifier(
        network,
        class_names=["first", "second", "third"],
        preparation=Preprocessing(size=(224, 224), resize="exact", resize_to=(224, 224)),
        name=reference,
    )


def test_the_full_experiment_runs_at_the_shapes_of_stylegan2(monkeypatch, figures):
    named = {
        full.GENERATOR: f"{__name__}:synthesis", full.FIRST: "guide", full.FIRST_JUDGE: "other guide",
        full.FIRST_CLASS: "second", full.SECOND: "guide again", full.SECOND_JUDGE: "yet another guide",
        full.SECOND_CLASS: "first", full.TOWER: "bundled:scene-clip", full.TEXT: "a star",
    }  # fmt: skip
    for name, value in named.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(full, "load_classifier", faces)
    monkeypatch.setattr(full, "load_two_tower", lambda reference, device: load_two_tower(reference))
    fit = SMOKE.fit.model_copy(update={"steps": 1, "batch_size": 2, "checked": 2})
    few = replace(SMOKE, fit=fit, few=fit, views=1, samples=48, judged=12, rivals=2, walk=1)
    monkeypatch.setattr(experiment, "FULL", few)
    material = full.full_material()
    assert (material.generator.dimension, material.generator.image_size) == (512, (1024, 1024))
    monkeypatch.setenv(full.GENERATOR, f"{__name__}:synthesis_256")  # as the published one for 256 pixels
    found = distributional_control("full", 0, Silent())
    assert set(found) >= wanted()
    assert mean_of(found["own.agreement"]) is not None
    monkeypatch.setenv(full.FIRST_JUDGE, "guide")
    with pytest.raises(InputError, match="a judge is another network"):
        full.full_material()
    monkeypatch.setenv(full.GENERATOR, "no.such.module:x")
    monkeypatch.setenv(full.FIRST_JUDGE, "other guide")
    with pytest.raises(InputError, match="cannot be imported"):
        full.full_material()


def test_the_published_numbers_are_those_of_the_full_scale():
    assert full.FULL.weight == 300
    assert full.FULL.text_weight == 600
    assert full.FULL.views == 50
    assert full.FULL.few.batch_size * full.FULL.few.accumulate == 32
    assert full.DIMENSION == 512


def test_images_of_equal_shares_come_in_mixed_order():
    names = ["red", "green"]
    classifier = Classifier(
        nn.Sequential(nn.AvgPool2d(4), nn.Flatten()),
        class_names=[*names, "blue"],
        preparation=Preprocessing(size=(4, 4)),
    )
    first = Attribute(classifier, classifier, "green", ("red", "green"))
    material = replace(experiment.small_material(), first=first)
    own = torch.zeros(200, 3, 4, 4)
    own[:120, 0], own[120:, 1] = 1, 1
    work = experiment.Experiment(material, SMOKE, 0, Silent())
    seen = first.seen(work._equal(own))
    assert len(seen) == 160
    assert int(seen.sum()) == 80
    assert 20 < int(seen[:80].sum()) < 60
