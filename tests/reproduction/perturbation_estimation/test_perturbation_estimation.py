"""The experiment of system 5: its setting, its arms, and every figure that a claim names."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from snellen.core.progress import Silent
from snellen.core.randomness import Randomness
from snellen.core.system import find_system
from snellen.methods.attacks.pgd import PGD
from snellen.models.residual_denoiser import ResidualDenoiser
from snellen.reproduction.perturbation_estimation import arms as study
from snellen.reproduction.perturbation_estimation.experiment import perturbation_estimation
from snellen.reproduction.perturbation_estimation.setting import (
    HARD,
    NETWORKS,
    SMALL,
    SMOKE,
    UNATTACKED,
    drawn,
    make_setting,
    seen_attacks,
    unseen_attacks,
)
from snellen.systems.perturbation_estimation.fitting import fit_denoiser

TINY = replace(SMOKE.sizes, hard=1)


@pytest.fixture(scope="module")
def found():
    return perturbation_estimation("smoke", 100, Silent())


@pytest.fixture(scope="module")
def setting():
    return make_setting(replace(SMOKE, tested=6, sizes=TINY), Randomness(100), Silent())


@pytest.mark.system_data("fashion-mnist")
def test_every_figure_that_a_claim_names_is_measured(found):
    assert all(np.isfinite(value) for value in found.values())
    for claim in find_system("5").claims:
        for name in (claim.metric, claim.baseline, *claim.controls):
            assert name is None or f"smoke.{name}" in found, name


@pytest.mark.system_data("fashion-mnist")
def test_shares_are_shares_and_the_curve_ends_where_the_pairs_do(found):
    for name, value in found.items():
        if name.endswith(("pa_benign", "pa_adversarial", "accuracy", "success", "broken", "changed")):
            assert 0 <= value <= 1, name
    for arm in study.ARMS:
        assert found[f"smoke.{arm}.curve.1.attacked"] == 1.0
        assert found[f"smoke.{arm}.curve.0.attacked"] < 1.0
        assert found[f"smoke.{arm}.curve.1.d"] == pytest.approx(found[f"smoke.{arm}.pgd.d"], rel=0.2)


@pytest.mark.system_data("fashion-mnist")
@pytest.mark.covers("5.10")
def test_what_is_learnt_from_and_what_is_only_tested_on_are_apart():
    seen, unseen = seen_attacks(SMALL), unseen_attacks(SMALL)
    assert not set(seen) & set(unseen)
    assert not [one for one in seen.values() if one in unseen.values()]
    assert set(HARD) < set(unseen)
    train, test = drawn("train", 20, 0), drawn("test", 20, 0)
    assert not set(train.ids) & set(test.ids)


@pytest.mark.system_data("fashion-mnist")
@pytest.mark.covers("5.8")
def test_arms_differ_in_weights_views_surrogate_and_start_alone(setting, monkeypatch):
    asked, before, after = [], [], []

    def noticing(network, cells, surrogate, **options):
        weights = {name: value.clone() for name, value in network.state_dict().items()}
        asked.append((weights, cells, options))
        before.append(surrogate(setting.images))
        after.append(fit_denoiser(network, cells, surrogate, **options))
        return after[-1]

    monkeypatch.setattr(study, "fit_denoiser", noticing)
    monkeypatch.setattr(study, "judged", lambda *given: {})
    study.measured(setting, TINY, Randomness(100), Silent())
    plain = asked[0]
    assert next(iter(study.ARMS)) == "do"
    for name, (weights, cells, options) in zip(study.ARMS, asked, strict=True):
        # Denoised smoothing begins where the plain denoiser ended: a rival from the identity would be a straw man.
        begin = after[0].weights if name == "ds" else plain[0]
        assert all(torch.equal(weights[key], value) for key, value in begin.items()), name
        assert cells is plain[1]
        assert options["plan"] == plain[2]["plan"]
    assert any(not torch.equal(after[0].weights[key], value) for key, value in plain[0].items())
    settings = {(str(options["weights"]), tuple(options["views"])) for _, _, options in asked}
    assert len(settings) == 4, "one arm differs by its surrogate alone"
    first, other = setting.surrogate(setting.images), setting.unattacked(setting.images)
    assert setting.surrogate is setting.victims["residual"]
    assert [torch.equal(scores, first) for scores in before] == [True, True, True, True, False]
    assert torch.equal(before[-1], other)


@pytest.mark.system_data("fashion-mnist")
@pytest.mark.covers("5.7")
def test_what_changes_nothing_undoes_no_attack_before_the_attacked_victim(setting):
    """Another victim would decide rightly about some of the pairs, and the identity would seem to help."""
    identity = ResidualDenoiser(depth=2, width=1).eval()
    found = study.judged(identity, setting, TINY, Randomness(100))
    pairs = [cell for cell in (*setting.seen, *setting.unseen) if len(cell.ids)]
    assert {cell.victim for cell in pairs} == set(setting.victims)
    for name in {cell.attack for cell in pairs}:
        assert found[f"{name}.pa_benign"] == found[f"{name}.pa_adversarial"] == 0.0, name
    assert found["benign.changed"] == found["benign.d"] == 0.0


@pytest.mark.system_data("fashion-mnist")
@pytest.mark.covers("5.10")
def test_the_adaptive_attack_looks_through_the_denoiser(setting, monkeypatch):
    class Darker(nn.Module):
        def forward(self, images):
            return 0.5 * images

    seen = []

    class Noticing:
        def __init__(self, **options):
            self.attacks = PGD(**options)

        def attack(self, classifier, images, labels, **options):
            seen.append((images, classifier(images)))
            return self.attacks.attack(classifier, images, labels, **options)

    monkeypatch.setattr(study, "PGD", Noticing)
    found = study.judged(Darker().eval(), replace(setting, seen=[], unseen=[]), TINY, Randomness(100))
    assert len(seen) == len(setting.victims)
    for (images, scores), victim in zip(seen, setting.victims.values(), strict=True):
        assert torch.allclose(scores, victim(0.5 * images), atol=1e-5)
    assert 0 <= found["adaptive.broken"] <= 1


def test_perturbations_of_grey_images_are_grey():
    assert UNATTACKED in NETWORKS
    images = torch.rand(2, 1, 28, 28).expand(-1, 3, -1, -1).clone().requires_grad_()
    for name, build in NETWORKS.items():
        (gradient,) = torch.autograd.grad(build(10).eval()(images)[:, 0].sum(), images)
        assert torch.allclose(gradient[:, 0], gradient[:, 1], atol=1e-7), name
        assert torch.allclose(gradient[:, 0], gradient[:, 2], atol=1e-7), name
