"""Which classes are drawn: chance is how often the classifier names a class among images of the others."""

import numpy as np
import pytest

from snellen.core.errors import InputError
from snellen.methods.scans.training_set import Inspected
from snellen.systems.trigger_amplification.drawn_classes import (
    LEVEL,
    check_drawn,
    match_p_value,
    undrawn_classes,
    without_classes,
)


def inspected(labels, predictions):
    labels, predictions = np.asarray(labels, dtype=np.int64), np.asarray(predictions, dtype=np.int64)
    count = len(labels)
    return Inspected(
        ids=tuple(map(str, range(count))),
        rows=np.arange(count),
        units=(None,) * count,
        labels=labels,
        predictions=predictions,
        classes=dict.fromkeys(sorted(set(labels.tolist()))),
        rejected=(),
        features=np.zeros((count, 1), dtype=np.float32),
    )


def test_a_class_that_is_seen_in_55_of_100_of_two_classes_is_drawn():
    """The interval of 55 % holds one half, but of the other class only 5 % are taken for it."""
    labels = np.repeat([0, 1], 100)
    predictions = np.r_[np.zeros(55), np.ones(45), np.zeros(5), np.ones(95)]
    assert undrawn_classes(inspected(labels, predictions)) == ()
    check_drawn(inspected(labels, predictions), "generator", "classifier")


def test_a_class_that_the_classifier_favours_everywhere_is_not_drawn():
    """Of four classes, the first is seen in 90 % of its images and of all others: far above a quarter."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 100)
    predictions = np.where(rng.random(400) < 0.9, 0, np.maximum(labels, 1))
    seen = inspected(labels, predictions)
    assert undrawn_classes(seen) == (0,)
    assert set(without_classes(seen, (0,)).classes) == {1, 2, 3}
    blind = inspected(labels, np.zeros(400))
    assert undrawn_classes(blind) == (0, 1, 2, 3)
    with pytest.raises(InputError, match="in 100 of 400 generated images, where 100 are expected by chance"):
        check_drawn(blind, "generator", "classifier")


def test_chance_seldom_makes_one_of_a_thousand_classes_drawn():
    """A single right decision in a hundred, which one class in ten gets by chance, is not enough."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(1000), 100)
    predictions = rng.integers(0, 1000, len(labels))
    seen = inspected(labels, predictions)
    assert ((labels == predictions).reshape(1000, 100).sum(1) > 0).sum() > 50
    assert len(undrawn_classes(seen)) >= 999
    predictions[:10] = 0
    assert 0 not in undrawn_classes(inspected(labels, predictions)), "ten in a hundred are"


@pytest.mark.parametrize("favour", [0.25, 0.7])
def test_the_trial_lets_few_generators_pass_that_know_no_class(favour):
    rng, labels = np.random.default_rng(1), np.repeat(np.arange(4), 10)
    shares = [favour, *[(1 - favour) / 3] * 3]
    passed = [match_p_value(labels, rng.choice(4, 40, p=shares)) <= LEVEL for _ in range(200)]
    assert np.mean(passed) <= 0.1
    half = np.where(rng.random(40) < 0.5, labels, rng.choice(4, 40, p=shares))
    assert match_p_value(labels, half) <= LEVEL, "one that draws every second image is no such generator"


def test_a_single_class_is_compared_with_nothing():
    assert undrawn_classes(inspected([0] * 50, [0] * 2 + [1] * 48)) == ()
    check_drawn(inspected([0] * 40, [0] * 2 + [1] * 38), "generator", "classifier")
    with pytest.raises(InputError, match="in 0 of 40 generated images\\. Name"):
        check_drawn(inspected([0] * 40, [1] * 40), "generator", "classifier")
