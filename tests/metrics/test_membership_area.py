"""Membership attacks by certainty: within classes, by unit, at the level and with the coverage that they state."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest

from snellen.core.errors import InputError
from snellen.metrics.auroc import auroc
from snellen.metrics.membership_area import certainty, membership_area


def test_certainty_is_the_logit_and_keeps_its_order_where_probabilities_round_to_one():
    scores = np.array([[0.3, -1.0, 2.0], [1.0, 1.0, 1.0]])
    p = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    assert certainty(scores, [2, 0]) == pytest.approx([np.log(p[0, 2] / (1 - p[0, 2])), np.log(0.5)])
    sure = certainty([[60.0, 0.0], [80.0, 0.0]], [0, 0])
    assert sure.tolist() == [60.0, 80.0]


def test_of_one_class_it_is_the_area_under_the_roc_curve():
    rng = np.random.default_rng(0)
    inside, outside = rng.normal(0.7, 1, 80).round(1), rng.normal(0, 1, 50).round(1)
    found = membership_area(inside, outside, [3] * 80, [3] * 50)
    assert found.area == pytest.approx(auroc([1] * 80 + [0] * 50, np.concatenate([inside, outside])))
    assert (found.members, found.non_members, found.classes) == (80, 50, 1)


def test_other_shares_of_the_classes_are_no_recognition():
    rng = np.random.default_rng(1)
    easy, hard = rng.normal(5, 1, 400), rng.normal(0, 1, 400)
    inside = np.concatenate([easy[:300], hard[:30]])
    outside = np.concatenate([easy[300:], hard[30:]])
    labels = [0] * 300 + [1] * 30, [0] * 100 + [1] * 370
    found = membership_area(inside, outside, *labels)
    assert auroc([1] * 330 + [0] * 470, np.concatenate([inside, outside])) > 0.8
    assert found.p_value > 0.05
    assert found.interval.low < 0.5 < found.interval.high


@pytest.mark.parametrize(("size", "of_a_unit", "shift"), [(200, 1, 0.0), (400, 8, 0.0), (200, 1, 0.6), (400, 8, 0.6)])
def test_level_and_coverage(size, of_a_unit, shift):
    rng = np.random.default_rng(2)
    truth, repetitions = NormalDist().cdf(shift / 2**0.5), 400

    def drawn(count, mean):
        units = np.arange(count) // of_a_unit
        shared = 0.3 if of_a_unit > 1 else 0.0
        own = np.sqrt(shared) * rng.normal(size=count // of_a_unit)[units]
        return mean + own + np.sqrt(1 - shared) * rng.normal(size=count), rng.integers(0, 3, count), units

    refused = covered = 0
    for _ in range(repetitions):
        (inside, own, one), (outside, other, two) = drawn(size, shift), drawn(size // 2, 0.0)
        found = membership_area(inside, outside, own, other, member_units=one, non_member_units=two)
        refused += found.p_value < 0.05
        covered += found.interval.low <= truth <= found.interval.high
    assert covered / repetitions > 0.91
    assert refused / repetitions > 0.9 if shift else refused / repetitions < 0.09


def test_images_of_one_unit_count_as_one():
    values, labels = np.arange(40.0), np.zeros(40, dtype=int)
    alone = membership_area(values + 20, values, labels, labels)
    together = membership_area(values + 20, values, labels, labels, member_units=np.zeros(40, dtype=int))
    assert alone.area == together.area
    assert alone.p_value < 1e-4 < 0.05 < together.p_value


def test_classes_with_few_images_are_left_out():
    found = membership_area([5.0] * 8 + [9.0] * 3, [1.0] * 8 + [0.0] * 3, [0] * 8 + [1] * 3, [0] * 8 + [1] * 3)
    assert (found.classes, found.members) == (1, 8)
    assert membership_area([1.0] * 4, [0.0] * 40, [0] * 4, [0] * 40) is None


def test_recognised_at_one_percent_of_false_alarms():
    outside = np.arange(200.0)
    inside = np.array([197.5, 198.5, 250.0, 10.0])
    found = membership_area(np.repeat(inside, 5), outside, [0] * 20, [0] * 200)
    assert found.recognised == 0.75, "two of 200 other images are allowed above"
    assert np.isnan(membership_area(inside.repeat(5), outside[:50], [0] * 20, [0] * 50).recognised)


@pytest.mark.parametrize(
    ("members", "others", "labels"), [([1.0], [np.nan], ([0], [0])), ([1.0], [1.0], ([0, 1], [0]))]
)
def test_wrong_values(members, others, labels):
    with pytest.raises(InputError, match="finite"):
        membership_area(members, others, *labels)


@pytest.mark.parametrize(("scores", "labels"), [([[1.0]], [0]), ([[1.0, np.inf]], [0]), ([[1.0, 2.0]], [2])])
def test_certainty_of_wrong_values(scores, labels):
    with pytest.raises(InputError):
        certainty(scores, labels)
