"""Retained accuracy and acuity: by hand, and how often their intervals hold."""

import numpy as np
import pytest

from snellen.checks.eye_chart import READABLE, Cell, acuity, chance_level, column, crossing, retained


def cell(severity, value, half=0.1):
    return Cell(severity=severity, retained=value, low=value - half, high=value + half, n=100)


def test_chance_is_the_best_constant_answer():
    assert chance_level(np.array([0] * 90 + [1] * 10), 2) == 0.9
    assert chance_level(np.array([0, 1, 2, 3]), 10) == 0.25
    assert chance_level(np.zeros(0, dtype=int), 4) == 0.25


def test_retained_by_hand():
    before = np.array([True] * 9 + [False])
    after = np.array([True] * 5 + [False] * 5)
    found = retained(before, after, 0.1, 3.0)
    assert found.retained == pytest.approx((0.5 - 0.1) / (0.9 - 0.1))
    assert found.low < found.retained < found.high
    assert (found.severity, found.n) == (3.0, 10)
    assert retained(before, before, 0.1, 1.0).retained == 1.0
    assert retained(before, after, 0.95, 1.0) is None, "nothing above chance to retain"
    assert retained(before[:0], after[:0], 0.1, 1.0) is None


@pytest.mark.parametrize("size", [1, 8])
def test_the_interval_of_the_retained_accuracy_covers(size):
    rng, missed, chance, units = np.random.default_rng(size), 0, 0.1, np.repeat(np.arange(150), size)
    for _ in range(400):
        easy = np.repeat(rng.beta(9, 1, 150), size)
        before = rng.random(150 * size) < easy
        after = before & (rng.random(150 * size) < 0.7)
        found = retained(before, after, chance, 1.0, units if size > 1 else None)
        missed += not found.low <= (0.63 - chance) / (0.9 - chance) <= found.high
    assert missed <= 33, "5 % of 400 are 20, with a standard error of 4.4"


def test_acuity_is_interpolated_with_its_interval():
    found = acuity([cell(2, 0.7), cell(1, 0.9)])
    assert found.value == pytest.approx(1.5)
    assert found.low == pytest.approx(1.0), "0.8 at severity 1 is the lower end of 0.9 ± 0.1"
    assert found.high == pytest.approx(2.0)
    assert not found.censored


def test_a_model_that_reads_to_the_last_line_is_censored():
    found = acuity([cell(severity, 1.0) for severity in (1, 2, 3)])
    assert (found.value, found.low, found.high, found.censored) == (3.0, 3.0, 3.0, True)
    half = acuity([cell(1, 1.0), cell(2, 0.85)])
    assert half.censored
    assert 1.0 < half.low < half.value == half.high == 2.0
    assert acuity([]) is None


def test_the_first_line_counts_even_if_a_later_one_is_read_again():
    assert acuity([cell(1, 0.5), cell(2, 0.95)]).value == pytest.approx(0.4)


def test_crossing_at_the_start():
    assert crossing(np.array([0.0, 1.0]), np.array([0.5, 0.4])) == 0.0
    assert crossing(np.array([0.0, 1.0]), np.array([READABLE, READABLE])) is None


def test_columns_without_cells_are_none():
    assert column("fog", "corruption", [None, None]) is None
    assert column("linf.8", "adversarial", [cell(5, 0.3)], scale=False).acuity is None
    assert column("fog", "corruption", [cell(1, 0.3), None]).acuity.value == pytest.approx(2 / 7)
