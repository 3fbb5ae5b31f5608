"""DFR: scikit-learn's solution, balanced groups, the published grid, and units of the real images alone."""

import numpy as np
import pytest
import torch

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.training import feature_reweighting as module
from snellen.training.feature_reweighting import (
    DFR,
    Features,
    Standard,
    l1_logistic,
    reweighted,
    worst_group_accuracy,
)


def blobs(count=400, share=0.95, seed=0, shift=0.0):
    """A core feature of little reach, one that follows the class in a share of the images, and noise."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 2, count)
    aligned = rng.random(count) < share
    spurious = np.where(aligned, targets, 1 - targets)
    values = rng.normal(size=(count, 6)) + shift
    values[:, 0] += 2.0 * (2 * targets - 1)
    values[:, 1] += 4 * (2 * spurious - 1)
    return Features(torch.from_numpy(values), torch.from_numpy(targets), torch.from_numpy(2 * targets + spurious))


@pytest.mark.parametrize(
    ("cost", "weight"),
    [(1.0, 1.0), (0.1, 3.0), (0.03, 10.0), (1.0, 100.0), (0.1, 300.0), (1.0, 1000.0), (0.01, 1000.0)],
)
def test_coefficients_are_those_of_liblinear(cost, weight):
    linear = pytest.importorskip("sklearn.linear_model")
    features = Standard.of(blobs())(blobs())
    (found,) = l1_logistic(features, 2, [(cost, 1, weight)], DFR().steps)
    oracle = linear.LogisticRegression(
        l1_ratio=1.0, C=cost, solver="liblinear", class_weight={0: 1.0, 1: weight}, tol=1e-9, max_iter=5000
    ).fit(features.values.numpy(), features.targets.numpy())
    expected = np.append(oracle.coef_[0], oracle.intercept_[0])
    np.testing.assert_allclose(found[:, 1].numpy(), expected, atol=2e-3 * max(1, weight / 50))
    np.testing.assert_allclose(found[:, 0], -found[:, 1], atol=1e-9)


def test_settings_that_are_solved_together_end_as_alone():
    """One that is done is taken out, and the others go on."""
    features, settings = Standard.of(blobs())(blobs()), [(0.01, 0, 1.0), (1.0, 1, 300.0), (0.1, 0, 2.0)]
    together = l1_logistic(features, 2, settings, DFR().steps)
    for setting, found in zip(settings, together, strict=True):
        torch.testing.assert_close(found, l1_logistic(features, 2, [setting], DFR().steps)[0], atol=1e-4, rtol=0)
    three = Features(features.values, torch.arange(len(features.targets)) % 3)
    (found,) = l1_logistic(three, 3, [(0.1, 0, 1.0)], DFR().steps)
    second = Features(features.values, (three.targets == 1).long())
    torch.testing.assert_close(found[:, 1], l1_logistic(second, 2, [(0.1, 0, 1.0)], DFR().steps)[0, :, 1])


def test_the_step_is_safe():
    """The estimate of the curvature is at least the largest eigenvalue, and little more."""
    features = Standard.of(blobs())(blobs())
    inputs = module._with_one(features.values)
    share = torch.ones(3, len(inputs), dtype=torch.float64)
    share[1, features.targets == 0], share[2, features.targets == 1] = 10.0, 1000.0
    share /= share.sum(1, keepdim=True)
    exact = torch.linalg.eigvalsh(torch.einsum("nd,sn,ne->sde", inputs, share, inputs))[:, -1]
    ratio = module._largest(inputs, share) / exact
    assert bool(((ratio >= 1) & (ratio <= module.MARGIN + 1e-9)).all())


def test_the_grid_is_the_published_one():
    settings = DFR().settings(2)
    assert {cost for cost, _, _ in settings} == {1, 0.7, 0.3, 0.1, 0.07, 0.03, 0.01}
    assert {(label, weight) for _, label, weight in settings} == {
        (0, 1.0), *((label, float(weight)) for label in (0, 1) for weight in (2, 3, 10, 100, 300, 1000))
    }  # fmt: skip
    assert DFR().fits == 10


def test_the_worst_group_gains():
    train, validation, test = blobs(1200), blobs(400, 0.5, 1), blobs(1000, 0.5, 2)
    plain = l1_logistic(Standard.of(train)(train), 2, [(1.0, 0, 1.0)], 300)
    erm = module._scores(Standard.of(train)(test).values, plain)[0].argmax(1)
    fitted = reweighted(train, validation, classes=2, rng=Randomness(0))
    before, after = (float(worst_group_accuracy(one, test)) for one in (erm, fitted.predict(test)))
    assert after > before + 0.05
    assert after > 0.85


@pytest.mark.covers("4.10")
def test_units_are_those_of_the_real_training_images_alone():
    """Added images of another place and spread move no unit, and neither do validation images."""
    train, validation = blobs(), blobs(200, 0.5, 1)
    added = Features(100 + 50 * blobs(300, seed=3).values, blobs(300, seed=3).targets)
    plan = DFR(costs=(0.1,), weights=(1.0,), fits=2, steps=50)
    plain, more = (
        reweighted(train, validation, classes=2, added=one, plan=plan, rng=Randomness(0)) for one in (None, added)
    )
    for fitted in (plain, more):
        torch.testing.assert_close(fitted.standard.mean, train.values.double().mean(0))
        torch.testing.assert_close(fitted.standard.spread, train.values.double().std(0, correction=0))
    assert not torch.equal(plain.coefficients, more.coefficients), "what is added is trained on"


@pytest.mark.covers("4.9", "4.10")
def test_subsets_are_balanced_by_group_and_hold_all_that_is_added(monkeypatch):
    train, validation = blobs(), blobs(200, 0.5, 1)
    smallest = int(train.groups.unique(return_counts=True)[1].min())
    added = Features(blobs(7, seed=3).values, blobs(7, seed=3).targets, None)
    seen = []
    plain = module.l1_logistic
    monkeypatch.setattr(module, "l1_logistic", lambda part, *rest: (seen.append(part), plain(part, *rest))[1])
    plan = DFR(costs=(0.1, 0.01), weights=(1.0,), fits=3, steps=5)
    reweighted(train, validation, classes=2, added=added, plan=plan, rng=Randomness(0))
    assert [len(part.values) for part in seen] == [4 * smallest + 7] * 4, "one chooses, and three others are fitted to"
    for place, part in enumerate(seen):
        assert not any(torch.equal(part.values, one.values) for one in seen[:place]), "each fit draws another subset"
    standard = Standard.of(train)
    for part in seen:
        torch.testing.assert_close(part.values[-7:], standard(added).values)
        rows = [int((standard(train).values - one).abs().sum(1).argmin()) for one in part.values[:-7]]
        assert train.groups[rows].unique(return_counts=True)[1].tolist() == [smallest] * 4


def test_validation_chooses_by_the_worst_group(monkeypatch):
    train, validation = blobs(), blobs(200, 0.5, 1)
    plan = DFR(costs=(1.0, 1e-6), weights=(1.0, 1000.0), fits=1, steps=100)
    fitted = reweighted(train, validation, classes=2, plan=plan, rng=Randomness(0))
    assert (fitted.cost, fitted.heavier) == (1.0, (0, 1.0))


def test_what_is_missing_is_said():
    train, validation = blobs(40), blobs(40, 0.5, 1)
    unknown = Features(validation.values, validation.targets)
    with pytest.raises(InputError, match="group of each validation image"):
        reweighted(train, unknown, classes=2, rng=Randomness(0))
    with pytest.raises(InputError, match="group of each training image"):
        reweighted(unknown, validation, classes=2, rng=Randomness(0))
    narrow = Features(train.values[:, :2], train.targets)
    with pytest.raises(InputError, match="one width are expected; got 2, 6"):
        reweighted(train, validation, classes=2, added=narrow, rng=Randomness(0))
