"""Plans of sample size: what they promise holds in simulation, for the procedures that the audit uses."""

import math

import numpy as np
import pytest
from scipy.stats import binom

from snellen.auditing.compare.difference import Mean, paired_difference, unpaired_difference
from snellen.core.errors import InputError
from snellen.metrics.clustered import clustered_share
from snellen.metrics.intervals import wilson
from snellen.metrics.non_inferiority import paired_worsening, unpaired_worsening
from snellen.metrics.sample_size import (
    gate_power,
    images_for_gate,
    images_for_power,
    images_for_width,
    interval_width,
    paired_margin_power,
    paired_power,
    unpaired_margin_power,
    unpaired_power,
)
from snellen.metrics.unit_design import UnitDesign, estimated_design

#: What is promised holds within a tenth.
NEAR = 0.1


def units_of(count, size):
    return None if size == 1 else np.arange(count) // size


def shares(rng, count, share, size, correlation):
    """Right decisions (n,) with a correlation within units: beta-binomial."""
    if correlation == 0:
        return rng.random(count) < share
    parameters = share * (1 - correlation) / correlation, (1 - share) * (1 - correlation) / correlation
    return rng.random(count) < rng.beta(*parameters, math.ceil(count / size))[np.arange(count) // size]


def pair(rng, count, share, disagreement, difference, size=1, correlation=0.0):
    """Decisions of two models (n,) on the same images; a unit's images share one draw with probability √ρ."""
    draw = rng.random(count)
    if correlation:
        common = rng.random(math.ceil(count / size))[np.arange(count) // size]
        draw = np.where(rng.random(count) < math.sqrt(correlation), common, draw)
    only_first, only_second = (disagreement - difference) / 2, (disagreement + difference) / 2
    both = share - only_first
    first = draw < both + only_first
    second = (draw < both) | ((draw >= both + only_first) & (draw < both + only_first + only_second))
    return first.astype(float), second.astype(float)


@pytest.mark.parametrize(("size", "correlation"), [(1, 0.0), (8, 0.3), (4, 0.6)])
@pytest.mark.parametrize(("share", "width"), [(0.8, 0.04), (0.9, 0.1), (0.97, 0.04)])
def test_intervals_are_as_wide_as_promised(share, width, size, correlation):
    rng = np.random.default_rng(0)
    count = images_for_width(width, share, UnitDesign(size, correlation))
    ends = [clustered_share(shares(rng, count, share, size, correlation), units_of(count, size)) for _ in range(100)]
    assert np.mean([high - low for low, high in ends]) == pytest.approx(width, rel=NEAR)


def test_the_power_of_a_gate_is_that_of_the_binomial_distribution_itself():
    for count, share, bound in ((300, 0.95, 0.9), (2000, 0.92, 0.9), (50, 0.7, 0.5)):
        passing = [right for right in range(count + 1) if wilson(right, count).low >= bound]
        assert gate_power(count, share, bound) == pytest.approx(binom.pmf(passing, count, share).sum(), abs=1e-9)
        failing = [right for right in range(count + 1) if wilson(right, count).high <= bound]
        assert gate_power(count, share - 0.3, bound, upper=True) == pytest.approx(
            binom.pmf(failing, count, share - 0.3).sum(), abs=1e-9
        )


def test_from_the_planned_number_on_the_gate_never_falls_below_its_power():
    count = images_for_gate(0.95, 0.9, 0.9)
    assert min(gate_power(more, 0.95, 0.9) for more in range(count, count + 300)) >= 0.9
    assert gate_power(count - 1, 0.95, 0.9) < 0.9
    high = images_for_gate(0.9995, 0.999, 0.9)  # where a tooth is a thousand images long
    assert min(gate_power(more, 0.9995, 0.999) for more in range(high, high + 4000, 7)) >= 0.9
    assert images_for_gate(0.0005, 0.001, 0.9, upper=True) == high


@pytest.mark.parametrize(("share", "bound"), [(0.92, 0.9), (0.85, 0.8)])
def test_gates_on_units_pass_as_often_as_promised(share, bound):
    rng, design = np.random.default_rng(1), UnitDesign(8, 0.3)
    count = images_for_gate(share, bound, 0.9, design)
    passed = [clustered_share(shares(rng, count, share, 8, 0.3), units_of(count, 8)).low >= bound for _ in range(300)]
    assert np.mean(passed) == pytest.approx(0.9, rel=NEAR)


@pytest.mark.parametrize(("size", "correlation"), [(1, 0.0), (8, 0.3)])
@pytest.mark.parametrize(("disagreement", "difference"), [(0.06, 0.02), (0.2, 0.05)])
def test_differences_on_the_same_images_are_found_as_often_as_promised(disagreement, difference, size, correlation):
    rng, design = np.random.default_rng(2), UnitDesign(size, correlation)
    count = images_for_power(lambda n: paired_power(n, difference, disagreement, design), 0.9, "")
    found = []
    for _ in range(300):
        first, second = pair(rng, count, 0.85, disagreement, difference, size, correlation)
        found.append(paired_difference(Mean(first), Mean(second), units_of(count, size)).rise <= 0.025)
    assert np.mean(found) == pytest.approx(0.9, rel=NEAR)


@pytest.mark.parametrize(("size", "correlation"), [(1, 0.0), (8, 0.3)])
def test_differences_on_other_images_and_margins_hold_their_power(size, correlation):
    rng, design = np.random.default_rng(3), UnitDesign(size, correlation)
    planned = {
        "difference": images_for_power(lambda n: unpaired_power(n, 0.9, 0.04, design), 0.9, ""),
        "margin": images_for_power(lambda n: paired_margin_power(n, 0.03, 0.08, design=design), 0.9, ""),
        "margin apart": images_for_power(lambda n: unpaired_margin_power(n, 0.04, 0.9, design=design), 0.9, ""),
    }
    found = {name: [] for name in planned}
    for _ in range(250):
        count = planned["difference"]
        units = units_of(count, size)
        worse, better = (shares(rng, count, share, size, correlation).astype(float) for share in (0.86, 0.9))
        found["difference"].append(unpaired_difference(Mean(worse), Mean(better), units, units).rise <= 0.025)
        count = planned["margin"]
        first, second = pair(rng, count, 0.85, 0.08, 0.0, size, correlation)
        found["margin"].append(paired_worsening(first, second, 0.03, units_of(count, size)).low > -0.03)
        count = planned["margin apart"]
        units = units_of(count, size)
        first, second = (shares(rng, count, 0.9, size, correlation).astype(float) for _ in range(2))
        found["margin apart"].append(unpaired_worsening(first, second, 0.04, units, units).low > -0.04)
    for name, outcomes in found.items():
        assert np.mean(outcomes) == pytest.approx(0.9, rel=NEAR), name


def test_the_design_of_a_run_is_estimated():
    rng = np.random.default_rng(4)
    values = shares(rng, 8000, 0.8, 8, 0.3).astype(float)
    found = estimated_design(values, np.arange(8000) // 8)
    assert found.size == 8
    assert found.correlation == pytest.approx(0.3, abs=0.05)
    assert estimated_design(shares(rng, 8000, 0.8, 1, 0).astype(float), np.arange(8000) // 8).correlation < 0.02


def test_more_images_give_narrower_intervals_and_units_wider_ones():
    widths = [interval_width(count, 0.9) for count in (50, 100, 1000, 100_000)]
    assert widths == sorted(widths, reverse=True)
    assert interval_width(1000, 0.9, UnitDesign(8, 0.3)) > 1.5 * interval_width(1000, 0.9)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: images_for_gate(0.9, 0.9, 0.9), "does not pass a gate at 0.9 however many images"),
        (lambda: images_for_width(0.0, 0.9), "width of an interval lies strictly between 0 and 1, got 0"),
        (lambda: UnitDesign(8, 1.5), "correlation within a unit lies from 0 to 1, got 1.5"),
        (lambda: UnitDesign(0.5), "1 image or more"),
        (lambda: paired_power(100, 0.1, 0.05), "disagree on at least as many images"),
        (lambda: images_for_gate(0.9 + 1e-7, 0.9, 0.9), "more than 100,000,000 images"),
    ],
)
def test_what_cannot_be_planned_is_an_error(call, message):
    with pytest.raises(InputError, match=message):
        call()
