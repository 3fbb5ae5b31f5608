"""Likelihood ratios of shadow models: as the formula says, stronger than one threshold, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from snellen.core.errors import InputError
from snellen.metrics.auroc import auroc
from snellen.metrics.likelihood_attack import likelihood_ratios


def test_ratios_of_normal_densities_with_pooled_deviations():
    rng = np.random.default_rng(0)
    shadows, inside = rng.normal(size=(8, 5)), np.zeros((8, 5), dtype=bool)
    inside[:4] = True
    attacked = rng.normal(size=5)
    first, second = shadows[:4], shadows[4:]
    deviations = [np.sqrt(one.var(0, ddof=1).mean()) for one in (first, second)]
    logs = [
        -((attacked - one.mean(0)) ** 2) / (2 * sd**2) - np.log(sd)
        for one, sd in zip((first, second), deviations, strict=True)
    ]
    assert likelihood_ratios(attacked, shadows, inside) == pytest.approx(logs[0] - logs[1])


def test_images_that_are_hard_for_everybody_do_not_hide_members():
    rng = np.random.default_rng(1)
    images, models = 400, 16
    hardness = rng.normal(0, 5, images)
    inside = np.zeros((models, images), dtype=bool)
    for pair in range(models // 2):
        half = rng.permutation(images)[: images // 2]
        inside[2 * pair, half] = True
        inside[2 * pair + 1] = ~inside[2 * pair]
    member = rng.random(images) < 0.5

    def sure(seen):
        return hardness + 1.5 * seen + rng.normal(0, 1, images)

    shadows = np.stack([sure(one) for one in inside])
    attacked = sure(member)
    by_threshold, by_ratio = auroc(member, attacked), auroc(member, likelihood_ratios(attacked, shadows, inside))
    assert by_threshold < 0.65
    assert by_ratio > 0.8
    assert 0.4 < auroc(member, likelihood_ratios(sure(np.zeros(images)), shadows, inside)) < 0.6


def test_shadow_models_that_agree_give_finite_ratios():
    inside = np.array([[True], [True], [False], [False]])
    assert np.isfinite(likelihood_ratios([1.0], np.ones((4, 1)), inside)).all()


@pytest.mark.parametrize(
    ("attacked", "shadows", "inside", "message"),
    [
        ([1.0], [[1.0]] * 4, [[True]] * 4, "two that did not; one has 0"),
        ([1.0], [[1.0]] * 3, [[True], [True], [False]], "one has 1"),
        ([1.0, 2.0], [[1.0]] * 4, [[True]] * 4, "expected"),
        ([np.nan], [[1.0]] * 4, [[True], [True], [False], [False]], "finite"),
    ],
)
def test_what_is_refused(attacked, shadows, inside, message):
    with pytest.raises(InputError, match=message):
        likelihood_ratios(attacked, shadows, inside)
