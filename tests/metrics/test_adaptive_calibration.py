"""Calibration in bins of equal mass and of every class: by definition, with ties, in any order, and degenerate."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snellen.core.errors import InputError
from snellen.metrics.calibration import (
    ClasswiseBins,
    EqualMassBins,
    adaptive_calibration_error,
    expected_calibration_error,
)
from snellen.metrics.discrimination import ScoreCounts

rows = st.lists(st.tuples(st.sampled_from([0.0, 0.2, 0.5, 0.55, 0.9, 1.0]), st.booleans()), max_size=40)
RNG = np.random.default_rng(0)
CONFIDENCE, PROBABILITIES, LABELS = RNG.uniform(0, 1, 600), RNG.dirichlet([0.5] * 4, 600), RNG.integers(0, 4, 600)
CORRECT = RNG.uniform(0, 1, 600) < CONFIDENCE**2


def counted(case: list[tuple[float, bool]]) -> ScoreCounts:
    return ScoreCounts.of(np.array([right for _, right in case], dtype=bool), [sure for sure, _ in case])


@pytest.mark.parametrize("bins", [1, 2, 15, 100, 600])
def test_equal_parts_by_definition(bins: int) -> None:
    order = np.argsort(CONFIDENCE)
    total = 0.0
    for part in np.array_split(order, bins):
        total += len(part) / 600 * abs(CORRECT[part].mean() - CONFIDENCE[part].mean())
    assert adaptive_calibration_error(CONFIDENCE, CORRECT, bins) == pytest.approx(total, abs=1e-12)


@pytest.mark.parametrize("bins", [7, 11, 13, 599, 1000])
def test_parts_that_cannot_be_equal_differ_by_one(bins: int) -> None:
    found = EqualMassBins.of(ScoreCounts.of(CORRECT, CONFIDENCE), bins)
    assert found.count.max() - found.count.min() <= 1
    assert (found.n, found.correct.sum()) == (600, CORRECT.sum())
    edges = np.concatenate(([0], np.cumsum(found.count)))
    parts = [np.sort(CONFIDENCE)[start:end].sum() for start, end in itertools.pairwise(edges)]
    assert found.confidence_sum == pytest.approx(parts, abs=1e-12)


def test_ties_stay_together() -> None:
    # Ranks 0 … 5 are alike: their middle is 3 of 8, in the first half.
    found = EqualMassBins.of(ScoreCounts.of([1, 1, 1, 1, 1, 0, 1, 1], [0.5] * 6 + [0.7, 0.9]), 2)
    assert found.count.tolist() == [6, 2]
    assert found.correct.tolist() == [5, 2]
    assert found.error == pytest.approx((abs(5 - 3) + abs(2 - 1.6)) / 8)
    alone = EqualMassBins.of(ScoreCounts.of([1, 0, 1], [0.6] * 3), 5)
    assert sorted(alone.count.tolist()) == [0, 0, 0, 0, 3]
    assert alone.error == pytest.approx(2 / 3 - 0.6)


@given(rows, st.integers(1, 20), st.lists(st.integers(0, 40), max_size=4), st.integers(0, 100))
def test_no_order_changes_a_bit(case: list[tuple[float, bool]], bins: int, cuts: list[int], seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(case))
    merged = counted([])
    for shard in np.split(order, sorted(min(cut, len(case)) for cut in cuts)):
        merged = counted([case[one] for one in shard]) + merged
    whole, found = EqualMassBins.of(counted(case), bins), EqualMassBins.of(merged, bins)
    for name in ("count", "confidence_sum", "correct"):
        assert getattr(found, name).tobytes() == getattr(whole, name).tobytes()
    error = adaptive_calibration_error(
        [case[one][0] for one in order], np.array([case[one][1] for one in order], dtype=bool), bins
    )
    assert np.float64(error).tobytes() == np.float64(whole.error).tobytes()
    assert not case or 0 <= error <= 1


def test_one_bin_is_the_plain_error_in_one_bin() -> None:
    plain = expected_calibration_error(CONFIDENCE, CORRECT, 1)
    assert adaptive_calibration_error(CONFIDENCE, CORRECT, 1) == pytest.approx(plain, abs=1e-12)


def test_sure_models_are_distinguished_where_equal_width_cannot() -> None:
    # All confidences in one bin of equal width: over- and underconfidence cancel there.
    confidence, correct = [0.94, 0.96] * 50, ([True, False] * 50)
    assert expected_calibration_error(confidence, correct, 10) == pytest.approx(0.45)
    assert adaptive_calibration_error(confidence, correct, 2) == pytest.approx((0.06 + 0.96) / 2)


def test_classwise_by_definition() -> None:
    errors = []
    for one in range(4):
        column, hit = PROBABILITIES[:, one], np.equal(LABELS, one)
        total = 0.0
        for m in range(15):
            inside = (column > m / 15) & (column <= (m + 1) / 15) | ((m == 0) & (column == 0))
            if inside.any():
                total += inside.sum() / 600 * abs(hit[inside].mean() - column[inside].mean())
        errors.append(total)
    found = ClasswiseBins.of(PROBABILITIES, LABELS)
    assert found.each == pytest.approx(errors, abs=1e-12)
    assert found.error == pytest.approx(float(np.mean(errors)), abs=1e-12)


@settings(max_examples=25)
@given(st.lists(st.integers(0, 600), max_size=4), st.integers(0, 100))
def test_classwise_shards_give_the_whole(cuts: list[int], seed: int) -> None:
    order = np.random.default_rng(seed).permutation(600)
    merged = ClasswiseBins.of(PROBABILITIES[:0], LABELS[:0])
    for shard in np.split(order, sorted(cuts)):
        merged = merged + ClasswiseBins.of(PROBABILITIES[shard], LABELS[shard])
    assert merged.each == pytest.approx(ClasswiseBins.of(PROBABILITIES, LABELS).each, abs=1e-12)


def test_classwise_extremes() -> None:
    assert ClasswiseBins.of([[1.0, 0.0], [0.0, 1.0]], [0, 1]).error == 0
    assert ClasswiseBins.of([[1.0, 0.0], [0.0, 1.0]], [1, 0]).error == 1
    single = ClasswiseBins.of(np.float32([[1.0000001, 0.0]]), [0])
    assert single.error == pytest.approx(0, abs=1e-6)


def test_nothing_counted() -> None:
    assert math.isnan(adaptive_calibration_error([], []))
    empty = ClasswiseBins.of(np.zeros((0, 3)), [])
    assert math.isnan(empty.error)
    assert np.isnan(empty.each).tolist() == [True] * 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: adaptive_calibration_error([0.5], [True], 0), "at least one bin"),
        (lambda: adaptive_calibration_error([0.5], [True, False]), r"confidence and correct must both be \(n,\)"),
        (lambda: adaptive_calibration_error([1.5], [True]), "pass probabilities"),
        (lambda: adaptive_calibration_error([math.nan], [True]), "pass probabilities"),
        (lambda: adaptive_calibration_error([0.5], [0.5]), "0 or 1"),
        (lambda: EqualMassBins.of(ScoreCounts.of([1, 0], [-1.0, 3.0])), r"must lie in \[0, 1\], got -1.0 to 3.0"),
        (lambda: ClasswiseBins.of([0.5, 0.5], [0]), r"expected probabilities \(n, k\)"),
        (lambda: ClasswiseBins.of([[0.5, 0.5]], [0, 1]), r"labels \(n,\)"),
        (lambda: ClasswiseBins.of(np.zeros((0, 0)), []), r"got \(0, 0\)"),
        (lambda: ClasswiseBins.of([[0.5, 0.6]], [0]), "sum to 1"),
        (lambda: ClasswiseBins.of([[1.5, -0.5]], [0]), "sum to 1"),
        (lambda: ClasswiseBins.of([[math.nan, 1]], [0]), "sum to 1"),
        (lambda: ClasswiseBins.of([[0.5, 0.5]], [2]), "integers from 0 to 1"),
        (lambda: ClasswiseBins.of([[0.5, 0.5]], [0.0]), "integers from 0 to 1"),
        (lambda: ClasswiseBins.of([[0.5, 0.5]], [0], 0), "at least one bin"),
        (
            lambda: ClasswiseBins.of([[0.5, 0.5]], [0]) + ClasswiseBins.of([[0.5, 0.3, 0.2]], [0]),
            "of 2 and of 3 classes cannot be added",
        ),
    ],
)
def test_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
