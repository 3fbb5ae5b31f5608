"""System 38: the mixture against its closed form and the published pattern, and the study in a size of seconds."""

import copy
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.core.preprocessing import Preprocessing
from snellen.core.progress import Silent
from snellen.core.randomness import Randomness, derive_seed
from snellen.core.system import find_system
from snellen.data.files.arrays import load_arrays
from snellen.methods.generation.made_images import weights_of
from snellen.models.diffusion.loading import load_generator
from snellen.models.diffusion.sampler import Sampler, seeded
from snellen.models.diffusion.smoke import write_smoke_folder
from snellen.models.encoders.frozen_encoder import FrozenEncoder
from snellen.reproduction.gradient_free_guidance import experiment as module
from snellen.reproduction.gradient_free_guidance import full as published
from snellen.reproduction.gradient_free_guidance.experiment import Sizes, at_equal_accuracy, gradient_free_guidance
from snellen.reproduction.gradient_free_guidance.mixture import (
    CLASSES,
    COMPONENTS,
    DEVIATION,
    STEPS,
    MixtureNetwork,
    centres,
    mixture_figures,
    mixture_generator,
    posterior,
    sampled,
)
from snellen.reproduction.sample import mean_of
from snellen.reproduction.shared.guided_generation import setups

#: Rule, strength → accuracy and entropy as a sampler of other code gave them, 6,000 points.
KNOWN = {
    ("none", 1.0): (0.778, 0.999),
    ("cfg", 2.0): (0.970, 0.955),
    ("cfg", 3.0): (0.994, 0.836),
    ("cfg", 5.0): (1.000, 0.631),
    ("fixed", 2.0): (0.931, 0.984),
    ("fixed", 3.0): (0.976, 0.962),
    ("adaptive", 1.0): (0.902, 0.995),
    ("adaptive", 2.0): (0.960, 0.991),
    ("adaptive", 4.0): (0.991, 0.988),
}


@pytest.fixture(scope="module")
def mixtures():
    return {rule: mixture_figures(*rule, count=2000, seed=2) for rule in KNOWN}


@pytest.mark.covers("38.7", "38.9")
@pytest.mark.parametrize("rule", KNOWN)
def test_the_mixture_gives_the_known_table(mixtures, rule):
    accuracy, entropy = KNOWN[rule]
    assert mixtures[rule]["accuracy"] == pytest.approx(accuracy, abs=0.03)
    assert mixtures[rule]["entropy"] == pytest.approx(entropy, abs=0.015)


@pytest.mark.covers("38.4")
def test_accuracy_rises_and_diversity_stays(mixtures):
    none, adaptive, cfg = (mixtures[rule] for rule in (("none", 1.0), ("adaptive", 4.0), ("cfg", 3.0)))
    assert adaptive["accuracy"] - none["accuracy"] > 0.15
    assert adaptive["entropy"] > 0.97
    assert cfg["entropy"] < adaptive["entropy"] - 0.1
    assert 1 < adaptive["least_scale"] < 1.1
    assert adaptive["most_scale"] < 1.6
    assert none["distance"] < adaptive["distance"] < none["distance"] + 0.05  # the price: a little further off


def test_the_grid_is_that_of_karras():
    settings = {"use_karras_sigmas": True, "timestep_spacing": "linspace"}
    solver = Sampler(mixture_generator(), steps=STEPS, solver="euler", settings=settings).new_solver()
    found = [solver.level(index)[1] / solver.level(index)[0] for index in range(STEPS + 1)]
    ends = 10 ** (1 / 7), 0.02 ** (1 / 7)
    expected = [(ends[0] + index / (STEPS - 1) * (ends[1] - ends[0])) ** 7 for index in range(STEPS)]
    assert found == pytest.approx([*expected, 0.0], rel=1e-4)


def test_the_denoiser_follows_from_the_density():
    """Tweedie: E[x₀ | x] = x + sigma² ∇ log p(x), at each level and through the call that the sampler makes."""
    generator = mixture_generator()
    weights = MixtureNetwork().weights
    classes = torch.tensor([0, 3, CLASSES])
    for timestep in (0.0, 250.5, 999.0):
        sigma = 0.02 * 500 ** (timestep / 999)
        points = (2 * Randomness(1).bind(3).normal("points", (2,))).double().requires_grad_(True)
        variance = DEVIATION**2 + sigma**2
        exponents = -torch.cdist(points, centres()).square() / (2 * variance)
        (slope,) = torch.autograd.grad((weights[classes].log() + exponents).logsumexp(1).sum(), points)
        latents = (points.detach() / math.sqrt(1 + sigma**2)).view(3, 2, 1, 1)
        found = generator.denoiser(latents, torch.full((3,), timestep), generator.encode_classes(classes.tolist()))
        torch.testing.assert_close(found.flatten(1), points.detach() + sigma**2 * slope)


def test_the_sampler_makes_the_steps_of_euler():
    """By hand, in float64, from the same noise: x + (sigma' − sigma) (x − D) / sigma."""
    points, classes, _ = sampled("none", 1.0, count=60, seed=5)
    rng = seeded([derive_seed(5, "mixture", number) for number in range(60)])
    x = 10 * rng.normal("noise", (2, 1, 1)).double().flatten(1)
    sigmas = torch.linspace(10 ** (1 / 7), 0.02 ** (1 / 7), STEPS, dtype=torch.float64) ** 7
    network = MixtureNetwork()
    for sigma, following in zip(sigmas, [*sigmas[1:], 0.0], strict=True):
        x = x + (following - sigma) * (x - network(x, sigma.expand(60), classes)) / sigma
    torch.testing.assert_close(points.double(), x, atol=1e-3, rtol=0)


def test_weights_and_posteriors_by_hand():
    weights = MixtureNetwork().weights
    torch.testing.assert_close(weights.sum(1), torch.ones(CLASSES + 1, dtype=torch.float64))
    assert weights[2, 6:9].tolist() == pytest.approx([0.25 + 0.25 / 18] * 3)
    assert weights[2, :6].tolist() == pytest.approx([0.25 / 18] * 6)
    at = centres().view(CLASSES, COMPONENTS, 2)
    assert torch.equal(posterior(at[:, 1], DEVIATION).argmax(1), torch.arange(CLASSES))
    torch.testing.assert_close(
        posterior(torch.zeros(1, 2), 1e3).exp(), torch.full((1, 6), 1 / 6).double(), atol=1e-4, rtol=0
    )


def test_points_do_not_depend_on_how_many_are_sampled():
    many, _, _ = sampled("adaptive", 4.0, count=30, seed=1)
    few, _, _ = sampled("adaptive", 4.0, count=6, seed=1)
    torch.testing.assert_close(few, many[:6])


def test_a_sweep_is_read_at_an_accuracy():
    def arm(accuracy, value):
        return {"accuracy": accuracy, "recall": value, "diversity": 2 * value, "coverage": 0.0}

    rising = [arm(0.5, 1.0), arm(0.7, 0.8), arm(0.9, 0.4)]
    assert at_equal_accuracy(rising, 0.8)["recall_at_accuracy"] == pytest.approx(0.6)
    assert at_equal_accuracy(rising, 0.8)["diversity_at_accuracy"] == pytest.approx(1.2)
    assert at_equal_accuracy(rising, 0.7)["recall_at_accuracy"] == pytest.approx(0.8)
    assert at_equal_accuracy(rising, 0.95)["accuracy_at_accuracy"] == 0.9
    assert at_equal_accuracy(rising, 0.95)["recall_at_accuracy"] == 0.4
    assert at_equal_accuracy(rising, 0.4)["recall_at_accuracy"] == 1.0
    bent = [arm(0.5, 1.0), arm(0.9, 0.8), arm(0.8, 0.1)]
    assert at_equal_accuracy(bent, 0.95)["recall_at_accuracy"] == 0.8


@pytest.mark.covers("38.8", "38.9")
def test_the_small_study_gives_every_figure(monkeypatch):
    def weak(setup, rng, **_):
        network = copy.deepcopy(setup.generator.denoiser.network)
        for parameter in network.parameters():
            parameter.mul_(0.95)
        return replace(setup.generator.denoiser, network=network)

    monkeypatch.setattr(setups, "REAL", 60)
    monkeypatch.setattr(module, "weak_denoiser", weak)
    monkeypatch.setattr(module, "SMALL", Sizes(thumbnails=10, scenes=8, steps=2, points=24))
    figures = gradient_free_guidance("small", 3, Silent())
    claims = [claim for claim in find_system("38").claims if "small" in claim.scales]
    wanted = {name for claim in claims for name in (claim.metric, claim.baseline, *claim.controls) if name}
    assert wanted - set(figures) == set()
    assert all(math.isfinite(mean_of(value)) for value in figures.values()), figures
    assert len(figures["fashion.none.accuracy"].values) == 10
    assert figures["fashion.auto.scale"] in module.WEAK_SCALES
    gain = figures["fashion.none.frechet"] - figures["fashion.auto.frechet"]
    assert figures["fashion.auto.gain"] == pytest.approx(gain)
    assert figures["fashion.gfcg_auto.rows"] == figures["fashion.auto.rows"] == 4
    assert figures["fashion.gfcg_auto.own_rows"] == 2
    assert figures["fashion.none.rows"] == 2
    assert figures["fashion.cfg_2.rows"] == 4
    assert 2 <= figures["fashion.gfcg.rows"] <= 4
    assert figures["fashion.gfcg.backward_rows"] == figures["fashion.gfcg.guide_gradients"] == 0
    assert figures["fashion.gradient.cost"] == 4 + 2 * 2
    assert figures["fashion.gfcg.guide_queries"] == 2
    assert figures["fashion.fixed.mean_scale"] == pytest.approx(figures["fashion.gfcg.mean_scale"])
    assert figures["fashion.gfcg.decoded"] == 0
    assert figures["scenes.gfcg.decoded"] == 2
    assert figures["scenes.every_4.decoded"] == 1
    assert figures["fashion.gfcg_1.mean_scale"] < figures["fashion.gfcg.mean_scale"]


@pytest.mark.covers("38.8")
def test_the_guide_cannot_judge(monkeypatch):
    monkeypatch.setattr(setups, "REAL", 20)
    setup = module.thumbnails()
    own = replace(setup, steps=2, judge=replace(setup.judge, weights=weights_of(setup.guide)))
    with pytest.raises(InputError, match="cannot judge"):
        module.scene_figures(own, Sizes(scenes=4, steps=2), 0, Silent())


def test_the_smoke_run_goes_through_every_combination():
    figures = gradient_free_guidance("smoke", 0, Silent())
    assert all(value == 1 for name, value in figures.items() if name.endswith(".finite"))
    assert figures["gfcg.rows"] == figures["auto.rows"] == 4
    assert figures["lagged.calls"] == 2
    assert figures["every_2.decoded"] == 1


def test_the_scale_of_autoguidance_is_that_of_the_lowest_distance_on_other_noise(monkeypatch):
    seeds: list[tuple[int, int]] = []

    def measure(arm, setup, requested, progress):
        seeds.append(requested)
        return SimpleNamespace(figures={"frechet": abs(arm.steering(None)(None, None).guidance[0].scale - 1.6)})

    setup = SimpleNamespace(ask=lambda count, seed: (count, seed))
    monkeypatch.setattr(module, "measure", measure)
    assert module.chosen_weak_scale(setup, None, 7, 3, Silent()) == 1.5
    assert len(set(seeds)) == 1
    assert seeds[0][0] == 3
    assert seeds[0][1] != 3


def test_the_full_study_names_what_it_lacks():
    with pytest.raises(InputError, match=r"SNELLEN_GFCG_GENERATOR.*SNELLEN_GFCG_DINOV2.*SNELLEN_GFCG_REAL"):
        gradient_free_guidance("full", 0, Silent())


def test_the_full_study_on_a_transformer_of_imagenets_classes(tmp_path, monkeypatch):
    """DiT of 1,000 classes, a classifier of 224 pixels that guides, another one that judges, vectors of 768."""

    def classifier(seed):
        torch.manual_seed(seed)
        network = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 1000))
        preparation = Preprocessing(size=(224, 224), resize="shorter", resize_to=(256, 256))
        return Classifier(network, class_names=[f"class {one}" for one in range(1000)], preparation=preparation)

    torch.manual_seed(9)
    network = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 768))
    encoder = FrozenEncoder(name="DINOv2", network=network, preparation=Preprocessing(size=(224, 224)))
    noise = np.random.default_rng(0).integers(0, 256, (6, 64, 64, 3), dtype=np.uint8)
    generators = {
        name: load_generator(f"diffusers:{write_smoke_folder('dit', tmp_path / name, seed=seed)}")
        for seed, name in enumerate(("strong", "weak"))
    }
    classifiers = {name: classifier(seed) for seed, name in enumerate(("guide", "judge"))}
    monkeypatch.setattr(published, "load_generator", lambda name, **_: generators[name])
    monkeypatch.setattr(published, "load_classifier", lambda name, **_: classifiers[name])
    monkeypatch.setattr(published, "load_encoder", lambda *_, **__: encoder)
    monkeypatch.setattr(published, "load_images", lambda _: load_arrays(noise, np.zeros(6, dtype=int), name="real"))
    names = (published.STRONG, published.WEAK, published.GUIDE, published.JUDGE, published.FEATURES, published.REAL)
    for name, value in zip(names, ("strong", "weak", "guide", "judge", "dinov2", "real"), strict=True):
        monkeypatch.setenv(name, value)
    figures = published.full(0, Silent(), count=3, chosen_on=2, steps=1, together=2, real=6)
    for claim in find_system("38").claims:
        if "full" in claim.scales:
            assert {claim.metric, claim.baseline, *claim.controls} - {None} <= set(figures)
    assert figures["imagenet.auto.scale"] in published.WEAK_SCALES
    assert len(figures["imagenet.none.accuracy"].values) == 3
    assert figures["imagenet.gfcg.guided_share"] == 1  # a guide of random weights is sure of nothing
    with pytest.raises(InputError, match="has 6 images, and at least 50000 are compared with"):
        published.full(0, Silent(), count=2, chosen_on=2, steps=1)
    monkeypatch.setenv(published.JUDGE, "guide")
    with pytest.raises(InputError, match="one network"):
        published.full(0, Silent(), count=2, chosen_on=2, steps=1)
