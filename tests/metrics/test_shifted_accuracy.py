"""Accuracy without labels: the interval covers under other mixes, and the fit sees when no mix explains the images."""

import numpy as np
import pytest

from snellen.core.errors import InputError
from snellen.metrics.shifted_accuracy import Decisions, class_shares, shifted_accuracy

CLASSES = 4
#: Scores of each class are drawn around its own corner; the last class is the hardest.
SPREAD = np.array([0.5, 0.6, 0.8, 1.3])


def drawn(rng, count, shares, labels_known, *, noise=0.0, units=None):
    if units is None:
        labels = rng.choice(CLASSES, count, p=shares)
    else:
        labels = rng.choice(CLASSES, int(units.max()) + 1, p=shares)[units]
    scores = 2.4 * np.eye(CLASSES)[labels] + SPREAD[labels, None] * rng.normal(size=(count, CLASSES))
    scores += noise * rng.normal(size=(count, CLASSES))
    odds = np.exp(2 * scores)
    odds /= odds.sum(1, keepdims=True)
    return Decisions(odds.argmax(1), odds.max(1), units, labels if labels_known else None), labels


@pytest.mark.parametrize("per_unit", [1, 4])
def test_under_another_mix_of_classes_the_interval_covers(per_unit):
    rng, inside, narrow = np.random.default_rng(0), 0, []
    for seed in range(60):
        units = None if per_unit == 1 else np.arange(600) // per_unit
        old, _ = drawn(rng, 600, np.full(CLASSES, 0.25), True, units=units)
        new, labels = drawn(rng, 600, rng.dirichlet(np.ones(CLASSES)), False, units=units)
        found = shifted_accuracy(old, new, CLASSES, resamples=30, draws=1, seed=seed)
        low, high = found.by_classes[1]
        inside += low <= (new.predictions == labels).mean() <= high
        narrow.append(high - low)
        assert found.interval.low <= low
        assert found.interval.high >= high
    assert inside >= 54, "a binomial count of 60 at 95 % is below 54 in about 2 in 100"
    assert np.mean(narrow) < (0.15 if per_unit == 1 else 0.3)


def test_under_another_mix_of_easy_and_hard_images_the_interval_covers():
    rng, inside = np.random.default_rng(1), 0
    for seed in range(60):
        old, _ = drawn(rng, 800, np.full(CLASSES, 0.25), True)
        whole, labels = drawn(rng, 3000, np.full(CLASSES, 0.25), False)
        kept = rng.random(3000) < np.where(whole.confidence < 0.9, 0.4, 0.1)
        new = Decisions(whole.predictions[kept], whole.confidence[kept])
        found = shifted_accuracy(old, new, CLASSES, resamples=30, draws=1, seed=seed)
        low, high = found.by_confidence[1]
        inside += low <= (new.predictions == labels[kept]).mean() <= high
    assert inside >= 54


def test_the_fit_is_rejected_for_other_images_and_not_for_another_mix():
    rng, mixed, noisy = np.random.default_rng(2), [], []
    for seed in range(30):
        old, _ = drawn(rng, 600, np.full(CLASSES, 0.25), True)
        shares = rng.dirichlet(np.ones(CLASSES))
        mixed.append(
            shifted_accuracy(
                old, drawn(rng, 400, shares, False)[0], CLASSES, resamples=2, draws=39, seed=seed
            ).fit_p_value
        )
        blurred = drawn(rng, 400, shares, False, noise=1.5)[0]
        noisy.append(shifted_accuracy(old, blurred, CLASSES, resamples=2, draws=39, seed=seed).fit_p_value)
    assert np.mean(np.array(mixed) <= 0.05) <= 0.15
    assert np.mean(np.array(noisy) <= 0.05) >= 0.9


def test_shares_of_classes_are_found():
    given = np.array([[0.8, 0.1, 0.1], [0.1, 0.7, 0.2], [0.05, 0.15, 0.8]])
    shares = np.array([0.6, 0.3, 0.1])
    assert class_shares(given, 10_000 * shares @ given) == pytest.approx(shares, abs=1e-3)


def test_a_class_that_the_audit_never_saw_gets_no_share_and_few_images_are_refused():
    rng = np.random.default_rng(3)
    old, _ = drawn(rng, 300, np.array([0.5, 0.3, 0.2, 0.0]), True)
    new, _ = drawn(rng, 300, np.array([0.2, 0.3, 0.5, 0.0]), False)
    found = shifted_accuracy(old, new, CLASSES, resamples=20)
    assert found.shares[3] == 0
    assert found.shares[2] == pytest.approx(0.5, abs=0.1)
    with pytest.raises(InputError, match="20 images or more in each set, got 300 audited and 5 new ones"):
        shifted_accuracy(old, Decisions(new.predictions[:5], new.confidence[:5]), CLASSES)
