"""Two sets of images: equal ones are not accused, changed ones are found, with units, against scipy, bad input."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from snellen.core.errors import InputError
from snellen.data.files.bundled import load_bundled
from snellen.metrics.inspection.column_drift import kolmogorov_p_value, label_drift, property_drift
from snellen.metrics.inspection.drift import FeatureDrift, feature_drift
from snellen.metrics.inspection.unit_exchange import (
    chernoff_bound,
    drawn_p_values,
    exchange_p_value,
    joined_units,
    sum_p_value,
)
from snellen.models.classifiers.references import load_classifier


def in_units(rng: np.random.Generator, units: int, size: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    codes = np.repeat(np.arange(units), size)
    return 0.8 * rng.normal(size=(units, 8))[codes] + 0.6 * rng.normal(size=(len(codes), 8)), codes


@pytest.mark.parametrize(("first_units", "second_units", "size"), [(80, 80, 1), (160, 40, 1), (25, 20, 8)])
def test_equal_sets_are_not_accused(first_units: int, second_units: int, size: int) -> None:
    small = np.zeros(4)
    runs = 60
    for seed in range(runs):
        rng = np.random.default_rng([1, seed])
        (first, before), (second, after) = in_units(rng, first_units, size), in_units(rng, second_units, size)
        settings = {"first_units": before, "second_units": after, "permutations": 39, "seed": seed}
        classes = rng.integers(0, 4, first_units)[before], rng.integers(0, 4, second_units)[after]
        found = feature_drift(first, second, **settings)
        small += [
            found.p_value <= 0.05,
            found.classifier_p_value <= 0.05,
            property_drift({"x": first[:, 0]}, {"x": second[:, 0]}, **settings)[0].p_value <= 0.05,
            label_drift(*classes, classes=4, **settings).p_value <= 0.05,
        ]
    assert (small <= 8).all(), small  # 5 % of 60 are 3; more than 8 has probability 0.003


@pytest.fixture
def classifier_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the kernel's test, which comes after the classifier's and changes nothing of it."""
    monkeypatch.setattr("snellen.metrics.inspection.drift._kernel_p_value", lambda *_: 1.0)


@pytest.mark.usefixtures("classifier_alone")
def test_the_interval_of_the_area_holds_one_half_for_equal_sets() -> None:
    held = 0
    for seed in range(60):
        rng = np.random.default_rng([2, seed])
        (first, before), (second, after) = in_units(rng, 40, 4), in_units(rng, 40, 4)
        found = feature_drift(first, second, first_units=before, second_units=after, permutations=19)
        held += found.interval.low <= 0.5 <= found.interval.high
    assert held >= 51  # 95 % of 60 are 57


@pytest.mark.parametrize("kind", ["mean", "spread", "part"])
def test_changes_are_found(kind: str) -> None:
    rng = np.random.default_rng(3)
    first, second = rng.normal(size=(400, 10)), rng.normal(size=(300, 10))
    foreign = rng.random(300) < 0.2
    if kind == "mean":
        second += 0.3
    elif kind == "spread":
        second *= 1.5
    else:
        second[foreign, 0] += 5
    found = feature_drift(first, second, permutations=199)
    assert found.kernel_p_value <= 1 / 200
    assert found.p_value <= 1 / 1000
    assert found.interval.low < found.auroc < found.interval.high
    if kind == "part":
        assert foreign[found.foreign].mean() > 0.8
    if kind == "mean":
        assert found.interval.low > 0.5
        assert found.classifier_p_value < 0.005


def test_a_perfect_border_and_equal_images() -> None:
    points = np.arange(20.0)[:, None]
    apart = feature_drift(points, points + 100, permutations=99)
    assert (apart.auroc, apart.standard_error, apart.units) == (1, 0, 10)
    assert 1 / 184_756 < apart.classifier_p_value < 0.002, "one of the ways to part twenty held-out images"
    assert 0.5 < apart.interval.low < 0.8
    assert apart.interval.high == 1
    many = np.arange(2000.0)[:, None]
    far = feature_drift(many, many + 3000, permutations=19)
    assert 0 < far.classifier_p_value < 1e-100
    assert far.interval.low > 0.99
    alike = feature_drift(np.ones((20, 2)), np.ones((20, 2)), permutations=19)
    assert (alike.auroc, alike.p_value) == (0.5, 1)


@pytest.mark.parametrize(("units", "size"), [(20, 1), (25, 8)])
@pytest.mark.usefixtures("classifier_alone")
def test_the_classifier_holds_small_levels(units: int, size: int) -> None:
    small, runs = np.zeros(2), 300
    for seed in range(runs):
        rng = np.random.default_rng([7, units, seed])
        (first, before), (second, after) = in_units(rng, units, size), in_units(rng, units, size)
        settings = {"first_units": before, "second_units": after, "permutations": 199, "seed": seed}
        found = feature_drift(first, second, **settings).classifier_p_value
        assert found > 0
        small += [found <= 0.05, found <= 0.01]
    assert small[0] <= 27, "5 % of 300 are 15; more than 27 has probability 0.002"
    assert small[1] <= 9, "1 % of 300 are 3; more than 9 has probability 0.001"


def test_lower_ends_of_areas() -> None:
    found = FeatureDrift(0.01, 0.01, 0.8, 0.03, 100, np.empty(0, np.int64))
    lows = [found.lower(confidence) for confidence in (0.6, 0.95, 0.975, 0.999)]
    assert lows == sorted(lows, reverse=True)
    assert found.lower(0.5) == pytest.approx(0.8)
    assert found.interval.low == pytest.approx(0.8 - 1.98 * 0.03, abs=0.01)
    few = FeatureDrift(0.01, 0.01, 0.8, 1e-9, 5, np.empty(0, np.int64))
    assert few.lower(0.975) < 0.72, "a variance that is small by chance is not believed"


@pytest.mark.usefixtures("classifier_alone")
def test_the_lower_end_holds_the_area_of_sets_that_differ() -> None:
    """Against the area that the fitted direction has in the population, normal with a known shift."""
    stats = pytest.importorskip("scipy.stats")
    above = 0
    for seed in range(150):
        rng = np.random.default_rng([8, seed])
        found = feature_drift(rng.normal(size=(40, 1)), rng.normal(size=(40, 1)) + 2.0, permutations=19, seed=seed)
        above += found.lower(0.95) > stats.norm.cdf(2 / 2**0.5)
    assert above <= 15, "5 % of 150 are 7.5; more than 15 has probability 0.003"


def test_units_count_once() -> None:
    rng = np.random.default_rng(4)
    first, before = in_units(rng, 20, 20)
    second, after = in_units(rng, 20, 20)
    alone = feature_drift(first, second, permutations=99)
    together = feature_drift(first, second, first_units=before, second_units=after, permutations=99)
    assert alone.kernel_p_value < 0.05 < together.p_value
    column = {"x": first[:, 0]}, {"x": second[:, 0]}
    assert property_drift(*column)[0].p_value < 0.05
    assert property_drift(*column, first_units=before, second_units=after)[0].p_value > 0.05


@pytest.fixture(scope="module")
def fashion() -> NDArray[np.float32]:
    images = load_bundled("fashion-mnist")
    pixels = np.stack([np.asarray(images.source.read(row).convert("L")) for row in range(len(images))])
    return pixels[np.random.default_rng(0).permutation(len(pixels))].astype(np.float32) / 255


def features_of(pixels: NDArray[np.float32]) -> NDArray[np.float64]:
    with torch.inference_mode():
        images = torch.from_numpy(pixels)[:, None].expand(-1, 3, -1, -1).contiguous()
        return load_classifier("bundled:fashion-cnn").features(images, "pool").double().numpy()


def test_real_images(fashion: NDArray[np.float32]) -> None:
    half = len(fashion) // 2
    first, second = features_of(fashion[:half]), features_of(fashion[half:])
    assert feature_drift(first, second, permutations=99).p_value > 0.05
    padded = np.pad(fashion[half:], ((0, 0), (1, 1), (1, 1)))
    blurred = sum(
        weight * padded[:, row : row + 28, column : column + 28]
        for row, column, weight in [(1, 1, 0.6), (0, 1, 0.1), (2, 1, 0.1), (1, 0, 0.1), (1, 2, 0.1)]
    )
    for changed in (blurred, 0.7 * fashion[half:]):
        found = feature_drift(first, features_of(changed.astype(np.float32)), permutations=99)
        assert found.kernel_p_value <= 0.01
        assert found.p_value <= 0.001
        assert found.interval.low > 0.5
    light = {"brightness": fashion[:half].mean((1, 2))}
    dark = property_drift(light, {"brightness": 0.8 * fashion[half:].mean((1, 2))})[0]
    assert dark.p_value < 1e-4
    assert -0.7 < dark.difference < -0.3
    assert property_drift(light, {"brightness": fashion[half:].mean((1, 2))})[0].p_value > 0.05


def kolmogorov_series(scaled: float) -> float:
    """The limiting law (Smirnov 1948), which converges slowly near zero."""
    terms = ((-1) ** (k - 1) * math.exp(-2 * k * k * scaled * scaled) for k in range(1, 1001))
    return min(2 * math.fsum(terms), 1.0)


@settings(max_examples=40)
@given(st.integers(20, 200), st.integers(20, 200), st.integers(0, 10))
def test_kolmogorov_against_scipy(first_n: int, second_n: int, seed: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=first_n), rng.normal(size=second_n) + 0.05 * seed
    found = property_drift({"x": first}, {"x": second})[0]
    expected = stats.ks_2samp(first, second, method="exact")
    assert found.distance == pytest.approx(expected.statistic, abs=1e-12)
    # On the safe side of the exact law, and not far from it.
    assert 0.97 * expected.pvalue <= found.p_value <= 1.3 * expected.pvalue + 0.02
    limit = kolmogorov_series(np.sqrt(first_n * second_n / (first_n + second_n)) * found.distance)
    assert found.p_value == pytest.approx(limit, abs=1e-12)


def test_kolmogorov_far_out_and_near_zero() -> None:
    assert kolmogorov_p_value(0, 50, 50) == 1
    for distance in (0.005, 0.02, 0.05):
        limit = kolmogorov_series(100 * distance)
        assert kolmogorov_p_value(distance, 20_000, 20_000) == pytest.approx(limit, rel=1e-12)


def test_ties_count_at_their_end() -> None:
    found = property_drift({"x": [0, 0, 1, 1]}, {"x": [0, 1, 1, 1]})[0]
    assert (found.distance, round(found.difference, 4)) == (0.25, 0.5345)
    flat = property_drift({"x": [1, 1, 1]}, {"x": [1, 1]})[0]
    assert (flat.distance, flat.p_value, flat.difference) == (0, 1, 0)


def test_label_drift_against_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(5)
    first, second = rng.integers(0, 4, 300), rng.choice(5, 200, p=[0.4, 0.2, 0.2, 0.15, 0.05])
    table = np.stack([np.bincount(part, minlength=5) for part in (first, second)])
    found = label_drift(first, second[second < 4], classes=6)
    expected = stats.chi2_contingency(np.stack([table[0][:4], table[1][:4]]), correction=False)
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-9)
    assert found.changes[4:].tolist() == [0, 0]
    # One image of a class: units change sides.
    rare = label_drift([0] * 20 + [1], [0] * 20, classes=2)
    assert rare.p_value > 0.4
    assert label_drift([1] * 20, [1] * 20, classes=3).p_value == 1


def test_exchange_holds_its_level_and_ends_early() -> None:
    drawn = []

    def statistic(sides: NDArray[np.bool_]) -> NDArray[np.float64]:
        drawn.append(sides.shape[1])
        assert (sides.sum(0) == 3).all()
        return np.zeros(sides.shape[1])

    sides = np.arange(9) < 3
    assert exchange_p_value(statistic, sides, permutations=9999, rng=np.random.default_rng(0)) == 1
    assert drawn == [1, 50]


def test_draws_go_on_where_none_is_as_extreme() -> None:
    made = []

    def draws(count: int) -> NDArray[np.float64]:
        made.append(count)
        return np.zeros((2, count)) - [[0], [1]]

    # The first is told early, for the second draws go on to 20 times 100 less one.
    assert drawn_p_values(np.zeros(2), draws, permutations=99).tolist() == [1, 1 / 2000]
    assert sum(made) == 1999
    made.clear()
    assert drawn_p_values(np.zeros(2), draws, permutations=99, further=False).tolist() == [1, 1 / 100]
    assert sum(made) == 99


def test_adaptive_p_values_hold_their_level() -> None:
    """Of equally distributed statistics, p values of at most 1/20, 1/100 and 1/1000 are no more than these shares."""
    rng = np.random.default_rng(11)
    found = drawn_p_values(rng.random(40_000), lambda count: rng.random((40_000, count)), permutations=39)
    for level in (0.05, 0.01, 0.002):
        expected = 40_000 * level
        assert (found <= level).sum() <= expected + 4 * expected**0.5


def test_p_values_small_enough_for_a_thousand_hypotheses() -> None:
    rng = np.random.default_rng(12)
    codes = np.repeat(np.arange(40), 5)
    shifted = {"x": rng.normal(size=200)}, {"x": rng.normal(size=200) + 3}
    assert property_drift(*shifted, first_units=codes, second_units=codes)[0].p_value <= 0.05 / 1000
    labels = np.repeat(rng.integers(0, 3, 40), 5), np.repeat(rng.integers(3, 6, 40), 5)
    assert label_drift(*labels, classes=6, first_units=codes, second_units=codes).p_value <= 0.05 / 1000
    # Many classes of few images each: the chi-square law is not trusted.
    assert label_drift(np.arange(50), np.arange(50, 100), classes=100).p_value > 0.1
    halves = np.repeat(np.arange(25), 3), np.repeat(np.arange(25, 50), 3)
    assert label_drift(*halves, classes=50).p_value <= 0.05 / 1000


def test_a_sum_against_all_parts_and_bounds() -> None:
    from itertools import combinations

    rng = np.random.default_rng(13)
    for shift in (0.3, 1.0, 2.0):
        values = np.concatenate([rng.normal(size=7), rng.normal(size=7) + shift])
        chosen = np.arange(14) >= 7
        exact = np.mean([values[list(part)].sum() >= values[7:].sum() - 1e-9 for part in combinations(range(14), 7)])
        assert chernoff_bound(values, chosen) >= exact
        found = sum_p_value(values, chosen, permutations=999, rng=rng)
        assert exact / 2 <= found <= 2 * exact + 0.001
    assert chernoff_bound(np.ones(5), np.arange(5) < 2) == 1


def test_constant_sets_and_rounding() -> None:
    codes = np.arange(30) // 3
    for units in ({}, {"first_units": codes, "second_units": codes}):
        half = np.full(30, 0.3)
        half[::2] = 0.1 + 0.2  # another number by rounding
        other = property_drift({"x": half}, {"x": np.full(30, 0.5)}, **units)[0]
        assert (other.distance, other.difference, other.spread) == (1, 0, 0)
        assert other.p_value < 0.01
        same = property_drift({"x": half}, {"x": np.full(30, 0.3)}, **units)[0]
        assert (same.distance, same.difference, same.spread, same.p_value) == (0, 0, 0, 1)


def test_the_same_seed_gives_the_same_result() -> None:
    rng = np.random.default_rng(6)
    first, second = rng.normal(size=(60, 4)), rng.normal(size=(50, 4))
    one, two = (feature_drift(first, second, permutations=39, seed=3) for _ in range(2))
    assert (one.p_value, one.auroc, one.foreign.tolist()) == (two.p_value, two.auroc, two.foreign.tolist())


TWENTY, ZEROS = np.zeros((20, 2)), np.zeros(20)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: feature_drift(TWENTY, np.zeros((20, 3))), "2 and 3 numbers"),
        (lambda: feature_drift(ZEROS, TWENTY), r"the first set must be finite and \(n, d\), got \(20,\)"),
        (lambda: feature_drift(TWENTY, np.full((20, 2), np.nan)), "the second set must be finite"),
        (lambda: feature_drift(TWENTY, np.zeros((19, 2))), "20 units or more, got 19"),
        (lambda: feature_drift(TWENTY, TWENTY, permutations=9), "19 permutations"),
        (lambda: feature_drift(TWENTY, TWENTY, first_units=np.zeros(3, int)), "20 values need as many"),
        (lambda: joined_units(3, 3, np.zeros(3, int), None), "two units or more, got 1 and 3"),
        (lambda: property_drift({"a": ZEROS}, {"b": ZEROS}), r"same properties, got \['a'\] and \['b'\]"),
        (lambda: property_drift({"a": ZEROS}, {"a": TWENTY}), r"property 'a' must be finite numbers \(n,\)"),
        (lambda: property_drift({"a": ZEROS, "b": ZEROS[1:]}, {"a": ZEROS, "b": ZEROS}), r"\[\(19, 20\), \(20, 20\)\]"),
        (lambda: label_drift([0, 1], [0, 2], classes=2), r"0 … 1, got 0 to 2"),
        (lambda: label_drift([0.0, 1], [0, 1], classes=2), "must be integers"),
    ],
)
def test_refused(call, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
