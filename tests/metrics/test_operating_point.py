"""One threshold in counts: by hand, Bayes' rule, coverage of the intervals by enumeration, merged from shards."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snellen.core.errors import InputError
from snellen.metrics.intervals import wilson
from snellen.metrics.operating_point import OperatingPoint

POINT = OperatingPoint(true_positives=240, false_negatives=178, false_positives=87, true_negatives=288)
points = st.builds(
    OperatingPoint,
    true_positives=st.integers(0, 60),
    false_positives=st.integers(0, 60),
    true_negatives=st.integers(0, 60),
    false_negatives=st.integers(0, 60),
)
prevalences = st.floats(1e-6, 1 - 1e-6)


def swapped(point: OperatingPoint) -> OperatingPoint:
    """The same decisions with the classes' names exchanged."""
    return OperatingPoint(
        true_positives=point.true_negatives,
        false_positives=point.false_negatives,
        true_negatives=point.true_positives,
        false_negatives=point.false_positives,
    )


def test_by_hand() -> None:
    point = OperatingPoint.of([1, 1, 1, 0, 0, 0, 0], [1, 1, 0, 1, 0, 0, 0])
    assert point == OperatingPoint(true_positives=2, false_positives=1, true_negatives=3, false_negatives=1)
    assert (point.n, point.positives, point.negatives, point.prevalence) == (7, 3, 4, 3 / 7)
    assert (point.sensitivity, point.specificity) == (2 / 3, 3 / 4)
    assert (point.positive_predictive_value, point.negative_predictive_value) == (2 / 3, 3 / 4)
    assert point.sensitivity_interval() == wilson(2, 3)
    assert point.specificity_interval(0.9) == wilson(3, 4, 0.9)
    assert point.positive_predictive_value_interval() == wilson(2, 3)
    assert point.negative_predictive_value_interval(0.9) == wilson(3, 4, 0.9)


def test_logit_interval_by_hand() -> None:
    # The ApoE ε4 table of Mercaldo, Lau and Zhou (2007), at a prevalence of 3 %.
    sensitivity, specificity, prevalence, z = 240 / 418, 288 / 375, 0.03, 1.959963984540054
    odds = sensitivity * prevalence / ((1 - specificity) * (1 - prevalence))
    half = z * math.sqrt(178 / (418 * 240) + 288 / (375 * 87))
    expected = [odds * math.exp(sign * half) / (1 + odds * math.exp(sign * half)) for sign in (-1, 1)]
    assert POINT.positive_predictive_value_at(0.03) == pytest.approx(odds / (1 + odds), abs=1e-15)
    assert POINT.positive_predictive_value_interval_at(0.03) == pytest.approx(expected, abs=1e-12)
    odds = specificity * (1 - prevalence) / ((1 - sensitivity) * prevalence)
    half = z * math.sqrt(240 / (418 * 178) + 87 / (375 * 288))
    expected = [odds * math.exp(sign * half) / (1 + odds * math.exp(sign * half)) for sign in (-1, 1)]
    assert POINT.negative_predictive_value_at(0.03) == pytest.approx(odds / (1 + odds), abs=1e-15)
    assert POINT.negative_predictive_value_interval_at(0.03) == pytest.approx(expected, abs=1e-12)


def test_shares_against_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    labels, decisions = rng.integers(0, 2, 200), rng.integers(0, 2, 200)
    point = OperatingPoint.of(labels, decisions)
    found = point.sensitivity, point.specificity, point.positive_predictive_value, point.negative_predictive_value
    expected = (
        metrics.recall_score(labels, decisions),
        metrics.recall_score(labels, decisions, pos_label=0),
        metrics.precision_score(labels, decisions),
        metrics.precision_score(labels, decisions, pos_label=0),
    )
    assert found == pytest.approx(expected, abs=1e-12)


@given(points)
def test_at_the_sample_s_prevalence_bayes_rule_gives_the_sample_s_values(point: OperatingPoint) -> None:
    if not point.positives or not point.negatives:
        assert math.isnan(point.positive_predictive_value_at(0.5))
        assert math.isnan(point.negative_predictive_value_at(0.5))
        return
    found = (
        point.positive_predictive_value_at(point.prevalence),
        point.negative_predictive_value_at(point.prevalence),
    )
    expected = point.positive_predictive_value, point.negative_predictive_value
    assert found == pytest.approx(expected, abs=1e-12, nan_ok=True)


@given(points, prevalences, st.floats(0.5, 0.999))
def test_intervals_hold_the_estimate_and_mirror(point: OperatingPoint, prevalence: float, confidence: float) -> None:
    low, high = point.positive_predictive_value_interval_at(prevalence, confidence)
    assert 0 <= low < high <= 1
    estimate = point.positive_predictive_value_at(prevalence)
    assert math.isnan(estimate) or low <= estimate <= high
    wider = point.positive_predictive_value_interval_at(prevalence, 1 - (1 - confidence) / 2)
    edge = min(point.true_positives, point.false_positives, point.true_negatives, point.false_negatives) == 0
    assert edge or (wider.low <= low and high <= wider.high)
    mirrored = swapped(point).negative_predictive_value_interval_at(1 - prevalence, confidence)
    assert mirrored == pytest.approx((low, high), abs=1e-9)


@pytest.mark.parametrize(("sensitivity", "specificity", "images"), [(0.9, 0.9, 50), (0.7, 0.95, 60), (0.98, 0.98, 50)])
def test_intervals_cover_the_true_value_as_often_as_they_say(
    sensitivity: float, specificity: float, images: int
) -> None:
    # All tables of so many images of each class, each with its probability.
    ways = [math.comb(images, hits) for hits in range(images + 1)]
    chance = [
        [way * share**hits * (1 - share) ** (images - hits) for hits, way in enumerate(ways)]
        for share in (sensitivity, specificity)
    ]
    truth = OperatingPoint(
        true_positives=round(1000 * sensitivity),
        false_negatives=round(1000 * (1 - sensitivity)),
        true_negatives=round(1000 * specificity),
        false_positives=round(1000 * (1 - specificity)),
    )
    covered = 0.0
    for hits in range(images + 1):
        for passes in range(images + 1):
            weight = chance[0][hits] * chance[1][passes]
            if weight < 1e-9:
                continue
            point = OperatingPoint(
                true_positives=hits,
                false_negatives=images - hits,
                true_negatives=passes,
                false_positives=images - passes,
            )
            low, high = point.positive_predictive_value_interval_at(0.05)
            covered += weight * (low <= truth.positive_predictive_value_at(0.05) <= high)
    assert covered >= 0.91  # adjusting both shares where one is 0 or 1 gives 0.85 in the last case


@given(st.lists(points, max_size=5), st.randoms(use_true_random=False))
def test_shards_in_any_order_give_the_whole(shards: list[OperatingPoint], random) -> None:
    whole = sum(shards, OperatingPoint())
    random.shuffle(shards)
    assert sum(shards, OperatingPoint()) == whole
    assert whole.n == sum(shard.n for shard in shards)


def test_nothing_counted_and_nothing_called() -> None:
    empty = OperatingPoint.of([], [])
    figures = [
        empty.prevalence,
        empty.sensitivity,
        empty.specificity,
        empty.positive_predictive_value,
        empty.negative_predictive_value,
    ]
    assert np.isnan(figures).all()
    assert empty.sensitivity_interval() == empty.positive_predictive_value_interval_at(0.1) == (0, 1)
    silent = OperatingPoint(true_negatives=9, false_negatives=3)
    assert math.isnan(silent.positive_predictive_value_at(0.1))
    assert silent.positive_predictive_value_interval_at(0.1) == (0, 1)
    assert silent.negative_predictive_value_at(0.1) == pytest.approx(0.9)


def test_a_test_that_was_never_wrong_is_not_called_perfect() -> None:
    perfect = OperatingPoint(true_positives=50, true_negatives=50)
    low, high = perfect.positive_predictive_value_interval_at(0.01)
    assert 0.01 < low < 0.5
    assert high == perfect.positive_predictive_value_at(0.01) == 1


def test_a_share_of_one_is_adjusted_and_the_other_is_not() -> None:
    z, prevalence = 1.959963984540054, 0.2
    share, size = (10 + z * z / 2) / (10 + z * z), 10 + z * z
    odds = share * prevalence / (0.25 * (1 - prevalence))
    half = z * math.sqrt((1 - share) / (share * size) + 0.75 / (0.25 * 40))
    expected = [odds * math.exp(sign * half) / (1 + odds * math.exp(sign * half)) for sign in (-1, 1)]
    point = OperatingPoint(true_positives=10, false_positives=10, true_negatives=30)
    assert point.positive_predictive_value_interval_at(prevalence) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: OperatingPoint(true_positives=-1), r"cannot be negative, got \(-1, 0, 0, 0\)"),
        (lambda: OperatingPoint.of([0, 1], [1]), "2 labels, but 1 decisions"),
        (lambda: OperatingPoint.of([[0]], [1]), r"labels must be \(n,\), got \(1, 1\)"),
        (lambda: OperatingPoint.of([0, 2], [0, 1]), r"labels must be 0 or 1 \(or bool\), got int64 with \[0, 2\]"),
        (lambda: OperatingPoint.of([0, 1], [0.2, 0.9]), "decisions must be 0 or 1"),
        (lambda: POINT.positive_predictive_value_at(0), "prevalence lies strictly between 0 and 1, got 0"),
        (lambda: POINT.negative_predictive_value_at(1), "strictly between"),
        (lambda: POINT.positive_predictive_value_interval_at(3), "1 % is 0.01"),
        (lambda: POINT.negative_predictive_value_interval_at(math.nan), "prevalence"),
        (lambda: POINT.positive_predictive_value_interval_at(0.5, 95), "confidence lies strictly between 0 and 1"),
        (lambda: POINT.sensitivity_interval(0), "confidence"),
    ],
)
def test_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
