"""The bootstrap of units: against SciPy, against formulas, whatever the order, and what it refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest

from snellen.core.errors import InputError
from snellen.metrics.bootstrap import cluster_bootstrap, paired_bootstrap
from snellen.metrics.clustered import clustered_mean
from snellen.metrics.weighted import weighted_auroc, weighted_mean


def skewed(n: int = 40) -> np.ndarray:
    return np.random.default_rng(2).exponential(size=n)


def test_against_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    values = skewed()
    ours = cluster_bootstrap(weighted_mean(values), len(values), resamples=8000, rng=np.random.default_rng(0))
    for method, interval in (("percentile", ours.percentile(0.9)), ("BCa", ours.bca(0.9))):
        theirs = stats.bootstrap(
            (values,), np.mean, confidence_level=0.9, n_resamples=8000, method=method, rng=np.random.default_rng(1)
        )
        # Both are random: quantiles of 8000 draws are certain to about 3 % of the standard error.
        assert interval == pytest.approx(tuple(theirs.confidence_interval), abs=0.12 * theirs.standard_error)
    assert ours.bca(0.9).low - ours.percentile(0.9).low > 0.1 * ours.standard_error  # so that the two are told apart


def test_acceleration_by_hand() -> None:
    # For a mean, the left-out figures are (S − x)/(n − 1); the acceleration is the skewness over 6 √n.
    values = skewed(12)
    sample = cluster_bootstrap(weighted_mean(values), 12, rng=np.random.default_rng(0))
    assert sample.left_out == pytest.approx((values.sum() - values) / 11)
    assert sample.value == pytest.approx(values.mean())
    assert (sample.units, sample.undefined, len(sample.replicates)) == (12, 0, 1000)


def test_groups_of_units_give_nearly_the_same_interval() -> None:
    values, units = skewed(3000), np.repeat(np.arange(1500), 2)
    each, grouped = (
        cluster_bootstrap(
            weighted_mean(values), 3000, units, resamples=400, rng=np.random.default_rng(0), jackknife_groups=groups
        )
        for groups in (1500, 100)
    )
    assert (len(each.left_out), len(grouped.left_out)) == (1500, 100)
    assert grouped.bca() == pytest.approx(each.bca(), abs=0.1 * each.standard_error)


def test_standard_error_counts_units_and_not_images() -> None:
    values = np.repeat(skewed(100), 8)
    units = np.repeat(np.arange(100), 8)
    sample = cluster_bootstrap(weighted_mean(values), 800, units, resamples=2000, rng=np.random.default_rng(0))
    assert sample.standard_error == pytest.approx(clustered_mean(values, units).standard_error, rel=0.06)
    alone = cluster_bootstrap(weighted_mean(values), 800, resamples=2000, rng=np.random.default_rng(0))
    assert alone.standard_error == pytest.approx(sample.standard_error / math.sqrt(8), rel=0.12)


def test_the_same_whatever_the_order_of_images() -> None:
    values, units = skewed(60), np.random.default_rng(1).integers(0, 9, 60)
    order = np.random.default_rng(3).permutation(60)
    one = cluster_bootstrap(weighted_mean(values), 60, units, rng=np.random.default_rng(0))
    two = cluster_bootstrap(weighted_mean(values[order]), 60, units[order], rng=np.random.default_rng(0))
    assert one.replicates == pytest.approx(two.replicates, abs=1e-12)
    assert one.bca() == pytest.approx(two.bca(), abs=1e-12)


def test_a_difference_of_two_models_keeps_what_they_share() -> None:
    generator = np.random.default_rng(0)
    units = np.repeat(np.arange(50), 4)
    first = (generator.random(200) < generator.random(50)[units]).astype(float)
    second = np.where(generator.random(200) < 0.1, 0.0, first)
    paired = paired_bootstrap(weighted_mean(first), weighted_mean(second), 200, units, rng=np.random.default_rng(0))
    assert paired.value == pytest.approx((first - second).mean())
    assert paired.standard_error == pytest.approx(clustered_mean(first - second, units).standard_error, rel=0.1)
    assert paired.percentile().low > 0


def test_coverage_of_an_area_under_the_curve() -> None:
    # Scores of units share a part; the area of N(1, 1) against N(0, 1) is Φ(1/√2).
    generator = np.random.default_rng(0)
    truth = 0.5 * math.erfc(-0.5)
    units, labels = np.repeat(np.arange(60), 4), np.tile([0, 1, 0, 1], 60)
    covered = {"percentile": 0, "bca": 0, "images": 0}
    for _ in range(200):
        scores = labels + math.sqrt(0.5) * (generator.normal(size=60)[units] + generator.normal(size=240))
        figure = weighted_auroc(labels, scores)
        sample = cluster_bootstrap(figure, 240, units, resamples=300, rng=generator)
        for name, interval in (("percentile", sample.percentile()), ("bca", sample.bca())):
            covered[name] += interval.low <= truth <= interval.high
    assert all(0.9 <= covered[name] / 200 <= 0.99 for name in ("percentile", "bca"))


def test_resamples_without_a_figure_are_counted() -> None:
    labels = np.array([1, 0, 0, 0, 0])
    sample = cluster_bootstrap(weighted_auroc(labels, np.arange(5)), 5, rng=np.random.default_rng(0))
    assert sample.undefined + len(sample.replicates) == 1000
    assert 250 < sample.undefined < 400  # (4/5)^5 of them lack the positive
    assert sample.percentile() == (0, 0)


def test_figures_without_spread_and_beyond_all_replicates() -> None:
    constant = cluster_bootstrap(weighted_mean(np.ones(5)), 5, rng=np.random.default_rng(0))
    assert constant.percentile() == constant.bca() == (1, 1)
    biased = cluster_bootstrap(
        lambda weights: float((weights > 0).mean()), 20, resamples=200, rng=np.random.default_rng(0)
    )
    assert biased.value == 1 > biased.replicates[-1]
    assert all(math.isfinite(end) for end in biased.bca())


def test_what_it_refuses() -> None:
    mean, rng = weighted_mean(np.ones(3)), np.random.default_rng(0)
    for units, resamples, groups in ((np.zeros(3, dtype=np.int64), 10, 10), (None, 1, 10), (None, 10, 1)):
        with pytest.raises(InputError, match="a bootstrap needs two units"):
            cluster_bootstrap(mean, 3, units, resamples=resamples, rng=rng, jackknife_groups=groups)
    with pytest.raises(InputError, match="as many integer unit codes"):
        cluster_bootstrap(mean, 3, np.zeros(4, dtype=np.int64), rng=rng)
    with pytest.raises(InputError, match="figure of the data is nan"):
        cluster_bootstrap(lambda weights: math.nan, 3, rng=rng)
    for confidence in (0.0, 1.0, math.nan):
        sample = cluster_bootstrap(mean, 3, rng=rng)
        for ask in (sample.percentile, sample.bca):
            with pytest.raises(InputError, match="strictly between 0 and 1"):
                ask(confidence)
