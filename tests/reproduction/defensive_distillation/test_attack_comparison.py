"""System 10: every stage runs with the real classes, and small versions of what its points ask for hold."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import nn

from snellen.core.classifier import Classifier
from snellen.core.progress import Silent
from snellen.core.randomness import Randomness
from snellen.core.system import find_system
from snellen.methods.attacks.carlini_wagner_l2 import CarliniWagnerL2
from snellen.reproduction.defensive_distillation import comparison
from snellen.reproduction.defensive_distillation import experiment as module
from snellen.reproduction.defensive_distillation.attack_figures import (
    Strengths,
    clean_figures,
    error_rate,
    fgsm_figures,
    search_figures,
    success_of,
)
from snellen.reproduction.defensive_distillation.experiment import attack_comparison
from snellen.reproduction.runner import reproduce
from snellen.reproduction.sample import Figure, mean_of
from snellen.reproduction.seed_file import named_figures
from snellen.testing.conformance import small_problem
from snellen.training.plan import TrainingPlan

FAMILIES = ("grouped_residual", "densely_connected", "plain")
TINY = Strengths(epsilons=(0.0, 0.05), steps=2, cw_steps=3, cw_searches=2, cw_images=6)


def named_by_claims() -> set[str]:
    return set(named_figures(find_system("10"), "small"))


@pytest.fixture(scope="module")
def tiny() -> tuple[dict[str, Mapping[str, Figure]], list[module.Setup]]:
    """The small experiment with hardly any training, twice with one seed and once with another."""
    with pytest.MonkeyPatch.context() as patch:
        seen, scenes = [], module._scenes
        patch.setattr(module, "SMALL_SIZES", (60, 12))
        patch.setattr(module, "SMALL_PLAN", TrainingPlan(epochs=1, batch_size=30))
        patch.setattr(module, "_scenes", lambda seed: seen.append(scenes(seed)) or seen[-1])
        patch.setattr(module, "Strengths", lambda: TINY)
        runs = {name: attack_comparison("small", seed, Silent()) for name, seed in (("a", 0), ("b", 0), ("c", 1))}
    return runs, seen


@pytest.fixture(scope="module")
def attacked() -> tuple[Classifier, torch.Tensor, torch.Tensor]:
    """A small classifier, and labels of which a quarter are wrong."""
    classifier, images, labels = small_problem(count=24)
    labels = labels.clone()
    labels[:6] = (labels[:6] + 1) % 5
    return classifier, images, labels


@pytest.mark.usefixtures("narrow_vgg")
def test_smoke_runs_every_stage_with_the_real_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[Mapping[str, Figure]] = []
    monkeypatch.setattr(module, "attack_comparison", lambda *given: found.append(attack_comparison(*given)) or found[0])
    classes, build = set(), comparison._seeded
    monkeypatch.setattr(comparison, "_seeded", lambda *given: [n := build(*given), classes.add(type(n).__name__)][0])
    result = reproduce("10", scale="smoke", seeds=1)
    assert (result.number, result.claims) == (10, ())
    assert classes == {"ResNet", "DenseNet", "VGG"}
    assert all(value is None or np.isfinite(mean_of(value)) for value in found[0].values())
    assert {"resnext50_32x4d.cw_success", "densenet201.fgsm.0.05.error", "vgg19.pgd_success"} <= set(found[0])
    assert {"teacher_20.clean_accuracy", "distilled_20.fgsm_tempered_success"} <= set(found[0])


@pytest.mark.covers("10.12", "10.8", "10.7", "10.6")
def test_small_gives_what_the_claims_name(tiny: tuple) -> None:
    figures = tiny[0]["a"]
    assert named_by_claims() <= set(figures)
    assert all(value is None or np.isfinite(mean_of(value)) for value in figures.values())
    assert (figures["cw.steps"], figures["cw.searches"], figures["cw.confidence"]) == (3, 2, 0)
    for temperature in (1, 10, 40, 100):
        for who in ("teacher", "distilled"):
            assert 0 <= figures[f"{who}_{temperature}.clean_accuracy"] <= 1
        for name in ("zero_gradient_share", "fgsm_tempered_success", "fgsm_margin_success", "transfer_success"):
            values = figures[f"distilled_{temperature}.{name}"]
            assert values is None or (set(values.values) <= {0.0, 1.0} and len(values.values) <= 12)
    assert figures["undistilled.clean_accuracy"] == figures["grouped_residual.clean_accuracy"]
    assert figures["least.fgsm_error"] == min(figures[f"{name}.fgsm_error"] for name in FAMILIES)
    assert figures["most.noise_error"] == max(figures[f"{name}.noise_error"] for name in FAMILIES)


def test_every_claim_about_cw_has_its_numbers_beside_it() -> None:
    claims = {claim.id: claim for claim in find_system("10").claims}
    assert {"cw.steps", "cw.searches", "cw.confidence"} <= set(claims["10.h"].controls)


@pytest.mark.covers("10.10")
def test_seeds_decide_everything(tiny: tuple) -> None:
    runs, setups = tiny
    assert runs["a"] == runs["b"]
    assert runs["a"] != runs["c"]
    assert setups[0].labels.tolist() != setups[2].labels.tolist()
    for setup in setups:
        assert (len(setup.examples), len(setup.images)) == (60, 12)
        assert setup.class_names[:2] == ("circle", "square")
        assert setup.images.min() >= 0
        assert setup.images.max() <= 1
    assert module.SMALL_SIZES == (3000, 200)


@pytest.mark.covers("10.11")
def test_the_fgsm_curve_begins_with_the_clean_error(attacked: tuple) -> None:
    curve, _ = fgsm_figures(*attacked, Strengths(), Randomness(0))
    clean = clean_figures(*attacked)
    assert next(iter(curve)) == "fgsm.0.error"
    assert curve["fgsm.0.error"] == pytest.approx(clean["clean_error"]) == pytest.approx(0.25)
    errors = [value for name, value in curve.items() if name.startswith("fgsm.")]
    assert len(errors) == 8
    assert all(later >= 0.25 for later in errors), "what was wrong stays wrong"
    assert clean["clean_top5_error"] == 0


@pytest.mark.covers("10.9")
def test_success_leaves_out_what_was_wrong_already(attacked: tuple) -> None:
    classifier, images, labels = attacked
    figures, result = fgsm_figures(classifier, images, labels, Strengths(), Randomness(0))
    broken = sum(status == "found" for status in result.status)
    assert sum(status == "already" for status in result.status) == 6
    assert success_of(result) == figures["fgsm_success"]
    assert (len(success_of(result).values), success_of(result).mean) == (18, pytest.approx(broken / 18))
    assert error_rate(result) == pytest.approx((broken + 6) / 24)
    wrong = (labels + 1) % 5
    _, hopeless = fgsm_figures(classifier, images[6:], wrong[6:], Strengths(), Randomness(0))
    assert (success_of(hopeless), error_rate(hopeless)) == (None, 1.0), "no image was right: missing, not 0"


@pytest.mark.covers("10.3")
def test_cw_finds_the_least_distance_of_a_linear_model() -> None:
    generator = torch.Generator().manual_seed(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    images = 0.3 + 0.4 * torch.rand(16, 3, 4, 4, generator=generator)
    with torch.no_grad():
        model[1].weight.copy_(0.3 * torch.randn(2, 48, generator=generator))
        model[1].bias.copy_(-(images.flatten(1) @ model[1].weight.T).mean(0))
    classifier = Classifier(model, class_names=["a", "b"])
    scores = classifier(images)
    least = (scores[:, 0] - scores[:, 1]).abs() / (model[1].weight[0] - model[1].weight[1]).norm()
    cw = CarliniWagnerL2(steps=150, searches=6, first_weight=0.1)
    attacked = cw.attack(classifier, images, scores.argmax(1))
    # Adam's first step alone, 0.005 in each of 48 values, is longer than the shorter distances.
    far = least > 0.05
    assert int(far.sum()) > 6
    assert attacked.success.all()
    ratio = (attacked.distance / least)[far]
    assert bool(((ratio > 1 - 1e-4) & (ratio < 1.02)).all())


@pytest.mark.covers("10.4", "10.10")
def test_cw_breaks_an_undefended_model_and_is_judged_again_as_bytes(attacked: tuple) -> None:
    strengths = Strengths(cw_steps=60, cw_searches=5, cw_images=24, steps=5)
    figures = search_figures(*attacked, strengths, Randomness(0))
    assert set(figures["cw_success"].values) == {1.0}
    middle = 2 ** np.median(figures["cw_log2_distance"].values)
    assert middle == pytest.approx(figures["cw_median_l2"], rel=0.2)
    assert figures["cw_error"] == 1.0
    assert len(figures["cw_rounded_success"].values) == len(figures["cw_success"].values)
    assert 0 < figures["cw_median_l2"] < 3
    at = [value for name, value in figures.items() if name.startswith("cw_accuracy_at_")]
    assert all(far <= near for near, far in itertools.pairwise(at))
