"""Classes in order: against scikit-learn and plain arithmetic on the images, and where there is nothing to say."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snellen.core.errors import InputError
from snellen.metrics.classification import ConfusionCounts, mean_absolute_error, quadratic_weighted_kappa, share_within

cases = st.integers(2, 6).flatmap(
    lambda k: st.tuples(
        st.just(k), st.lists(st.tuples(st.integers(0, k - 1), st.integers(0, k - 1)), min_size=1, max_size=40)
    )
)


@given(cases)
def test_against_scikit_learn(case: tuple[int, list[tuple[int, int]]]) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    k, pairs = case
    labels, predictions = (np.array(column) for column in zip(*pairs, strict=True))
    counts = ConfusionCounts.of(labels, predictions, k)
    assert mean_absolute_error(counts) == pytest.approx(metrics.mean_absolute_error(labels, predictions), abs=1e-12)
    for most in range(k + 1):
        expected = float((np.abs(labels - predictions) <= most).mean())
        assert share_within(counts, most) == pytest.approx(expected, abs=1e-12)
    assert share_within(counts, 0) == counts.accuracy
    if len({*labels.tolist(), *predictions.tolist()}) == 1:
        assert math.isnan(quadratic_weighted_kappa(counts))
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = metrics.cohen_kappa_score(labels, predictions, weights="quadratic", labels=list(range(k)))
        assert quadratic_weighted_kappa(counts) == pytest.approx(expected, abs=1e-12)


@given(cases)
def test_reversed_order_and_exchanged_roles_change_nothing(case: tuple[int, list[tuple[int, int]]]) -> None:
    k, pairs = case
    counts = ConfusionCounts.of([label for label, _ in pairs], [guess for _, guess in pairs], k)
    for same in (ConfusionCounts(counts.table[::-1, ::-1]), ConfusionCounts(counts.table.T)):
        assert mean_absolute_error(same) == mean_absolute_error(counts)
        assert share_within(same) == share_within(counts)
        kappa = quadratic_weighted_kappa(counts)
        assert quadratic_weighted_kappa(same) == pytest.approx(kappa, abs=1e-12, nan_ok=True)


@given(cases, st.integers(0, 40))
def test_two_shards_give_the_whole(case: tuple[int, list[tuple[int, int]]], cut: int) -> None:
    k, pairs = case
    first, second, whole = (
        ConfusionCounts.of(
            np.array([label for label, _ in part], dtype=int), np.array([guess for _, guess in part], dtype=int), k
        )
        for part in (pairs[:cut], pairs[cut:], pairs)
    )
    for figure in (mean_absolute_error, quadratic_weighted_kappa, share_within):
        assert figure(second + first) == pytest.approx(figure(whole), abs=0, nan_ok=True)


def test_extremes() -> None:
    perfect = ConfusionCounts.of([0, 1, 2], [0, 1, 2], 3)
    assert (mean_absolute_error(perfect), quadratic_weighted_kappa(perfect), share_within(perfect)) == (0, 1, 1)
    opposite = ConfusionCounts.of([0, 2], [2, 0], 3)
    assert (mean_absolute_error(opposite), quadratic_weighted_kappa(opposite), share_within(opposite)) == (2, -1, 0)
    independent = ConfusionCounts(np.outer([4, 2, 6], [3, 5, 2]))
    assert quadratic_weighted_kappa(independent) == pytest.approx(0, abs=1e-15)


def test_counts_that_would_overflow_a_product() -> None:
    # n² is about 10²¹ here, beyond 64-bit integers.
    table = np.array([[8, 2], [1, 9]], dtype=np.int64)
    large = ConfusionCounts(table * 1_700_000_000)
    assert quadratic_weighted_kappa(large) == pytest.approx(quadratic_weighted_kappa(ConfusionCounts(table)), abs=1e-12)


def test_nothing_counted_and_one_class() -> None:
    empty = ConfusionCounts.of([], [], 3)
    assert math.isnan(mean_absolute_error(empty))
    assert math.isnan(quadratic_weighted_kappa(empty))
    assert math.isnan(share_within(empty))
    one = ConfusionCounts.of([1, 1], [1, 1], 3)
    assert (mean_absolute_error(one), share_within(one)) == (0, 1)
    assert math.isnan(quadratic_weighted_kappa(one))


def test_refused() -> None:
    with pytest.raises(InputError, match="at least 0, got -1"):
        share_within(ConfusionCounts.of([0], [0], 2), -1)
