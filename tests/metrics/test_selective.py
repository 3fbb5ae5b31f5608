"""Risk against coverage: against the mean over all orders of ties, plain search, the oracle, merged in any order."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snellen.core.errors import InputError
from snellen.metrics.selective import RiskCoverage

rows = st.lists(st.tuples(st.sampled_from([0.2, 0.5, 0.9]), st.booleans()), max_size=40)
some = st.lists(st.tuples(st.sampled_from([0.2, 0.5, 0.9]), st.booleans()), min_size=1, max_size=40)


def curve_of(case: list[tuple[float, bool]]) -> RiskCoverage:
    return RiskCoverage.of([sure for sure, _ in case], np.array([right for _, right in case], dtype=bool))


def by_definition(right: list[bool]) -> float:
    """Mean over i of the error rate among the i surest, given their order (Geifman et al. 2019)."""
    errors = np.cumsum([not one for one in right])
    return float((errors / np.arange(1, len(right) + 1)).mean())


def test_distinct_confidences_by_definition() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.permutation(500) / 500
    correct = rng.random(500) < confidence
    curve = RiskCoverage.of(confidence, correct)
    order = np.argsort(-confidence)
    assert curve.area == pytest.approx(by_definition(correct[order].tolist()), abs=1e-12)
    assert curve.oracle_area == pytest.approx(by_definition(sorted(correct.tolist(), reverse=True)), abs=1e-12)
    assert curve.coverage == pytest.approx(np.arange(1, 501) / 500, abs=0)
    assert curve.risk == pytest.approx(np.cumsum(~correct[order]) / np.arange(1, 501), abs=0)
    for answered in (1, 7, 250, 500):
        assert curve.risk_at(answered / 500) == pytest.approx(curve.risk[answered - 1], abs=1e-12)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.sampled_from([0.2, 0.5]), st.booleans()), min_size=1, max_size=6))
def test_ties_are_the_mean_over_all_orders(case: list[tuple[float, bool]]) -> None:
    orders = [order for order in itertools.permutations(case) if list(order) == sorted(order, key=lambda row: -row[0])]
    curve = curve_of(case)
    areas = [by_definition([right for _, right in order]) for order in orders]
    assert curve.area == pytest.approx(math.fsum(areas) / len(areas), abs=1e-12)
    for answered in range(1, len(case) + 1):
        risks = [sum(not right for _, right in order[:answered]) / answered for order in orders]
        assert curve.risk_at(answered / len(case)) == pytest.approx(math.fsum(risks) / len(risks), abs=1e-12)


@given(some)
def test_bounds(case: list[tuple[float, bool]]) -> None:
    curve, errors = curve_of(case), 1 - float(np.mean([right for _, right in case]))
    best, worst = (by_definition(sorted((right for _, right in case), reverse=first)) for first in (True, False))
    assert curve.oracle_area == pytest.approx(best, abs=1e-12)
    assert best - 1e-12 <= curve.area <= worst + 1e-12
    assert 0 <= curve.excess_area == pytest.approx(curve.area - best, abs=1e-12)
    assert curve.risk[-1] == curve.risk_at(1) == pytest.approx(errors, abs=1e-12)
    assert curve.coverage[-1] == 1
    # One confidence for all: the order says nothing, and the risk is the error rate at every coverage.
    level = curve_of([(0.5, right) for _, right in case])
    assert level.area == pytest.approx(errors, abs=1e-12)
    assert level.risk_at(0.123) == pytest.approx(errors, abs=1e-12)


@given(some, st.sampled_from([0.0, 0.2, 0.25, 0.5, 1.0]) | st.floats(0, 1))
def test_coverage_at_a_risk_against_a_search(case: list[tuple[float, bool]], risk: float) -> None:
    curve = curve_of(case)
    reached = [(0.0, math.inf)]
    for threshold in {sure for sure, _ in case}:
        answered = [right for sure, right in case if sure >= threshold]
        if answered.count(False) / len(answered) <= risk:
            reached.append((len(answered) / len(case), threshold))
    assert (curve.coverage_at(risk), curve.threshold_at(risk)) == max(reached, key=lambda one: one[0])


@given(rows, st.lists(st.integers(0, 40), max_size=4), st.integers(0, 100))
def test_shards_in_any_order_give_the_whole_to_the_bit(
    case: list[tuple[float, bool]], cuts: list[int], seed: int
) -> None:
    order = np.random.default_rng(seed).permutation(len(case))
    merged = curve_of([])
    for shard in np.split(order, sorted(min(cut, len(case)) for cut in cuts)):
        merged = curve_of([case[one] for one in shard]) + merged
    whole = curve_of(case)
    for found, expected in ((merged.risk, whole.risk), (merged.coverage, whole.coverage)):
        assert found.tobytes() == expected.tobytes()
    figures = [(curve.area, curve.oracle_area, curve.excess_area) for curve in (merged, whole)]
    assert np.array(figures[0]).tobytes() == np.array(figures[1]).tobytes()


def test_perfect_order_has_no_excess() -> None:
    curve = RiskCoverage.of([0.9, 0.8, 0.7, 0.2, 0.1], [True, True, True, False, False])
    assert curve.excess_area == pytest.approx(0, abs=1e-15)
    assert (curve.coverage_at(0), curve.threshold_at(0)) == (0.6, 0.7)
    assert RiskCoverage.of([0.3, 0.4], [True, True]).area == 0
    assert RiskCoverage.of([0.3, 0.4], [False, False]).area == 1
    assert (curve.n, curve.thresholds.tolist()) == (5, [0.9, 0.8, 0.7, 0.2, 0.1])


def test_many_images_stay_exact() -> None:
    # 100 000 images in 101 groups: rounding must not grow with the number of images.
    rng = np.random.default_rng(1)
    confidence = rng.integers(0, 101, 100_000) / 100
    correct = rng.random(100_000) < confidence
    curve = RiskCoverage.of(confidence, correct)
    terms, before, errors = [], 0, 0.0
    for images, wrong in zip(
        (curve.counts.positives + curve.counts.negatives)[::-1].tolist(),
        curve.counts.negatives[::-1].tolist(),
        strict=True,
    ):
        each = np.arange(1, images + 1)
        terms += ((errors + wrong * each / images) / (before + each)).tolist()
        before, errors = before + images, errors + wrong
    assert curve.area == pytest.approx(math.fsum(terms) / 100_000, abs=1e-12)


def test_nothing_counted() -> None:
    empty = RiskCoverage.of([], [])
    assert empty.n == 0
    figures = [empty.area, empty.oracle_area, empty.excess_area, empty.risk_at(0.5), empty.coverage_at(0.1)]
    assert np.isnan([*figures, empty.threshold_at(0.1)]).all()
    assert empty.risk.shape == empty.coverage.shape == empty.thresholds.shape == (0,)


SOME = RiskCoverage.of([0.5], [True])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: RiskCoverage.of([0.5], [True, False]), r"confidence and correct must both be \(n,\)"),
        (lambda: RiskCoverage.of([[0.5]], [[True]]), r"both be \(n,\)"),
        (lambda: RiskCoverage.of([0.5], [2]), "true or false"),
        (lambda: RiskCoverage.of([0.5], [0.5]), "true or false"),
        (lambda: RiskCoverage.of([math.nan], [True]), "not NaN"),
        (lambda: RiskCoverage.of([math.inf], [True]), "below infinity"),
        (lambda: SOME.risk_at(0), "above 0 and at most at 1, got 0"),
        (lambda: SOME.risk_at(80), "80 % is 0.8"),
        (lambda: SOME.coverage_at(-0.1), r"risk lies in \[0, 1\], got -0.1"),
        (lambda: SOME.threshold_at(math.nan), "risk lies in"),
    ],
)
def test_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
