"""Score tests of "worse by the margin or more": their level by summation over all outcomes, against closed forms."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.special import gammaln, xlogy
from scipy.stats import binom, norm

from snellen.core.errors import InputError
from snellen.metrics.non_inferiority import (
    paired_worsening,
    restricted_disagreement,
    unpaired_worsening,
)


def decisions(only_first, only_second, count):
    first, second = np.ones(count), np.ones(count)
    second[:only_first] = 0
    first[only_first : only_first + only_second] = 0
    return first, second


def outcome_table(count, only_first, only_second):
    """Pairs of counts and their probabilities, where they matter."""
    most = [int(count * share + 7 * math.sqrt(count * share) + 8) for share in (only_first, only_second)]
    pairs = [(b, c) for b in range(most[0]) for c in range(most[1]) if b + c <= count]
    b, c = np.array(pairs).T
    rest = count - b - c
    log = gammaln(count + 1) - gammaln(b + 1) - gammaln(c + 1) - gammaln(rest + 1)
    log += xlogy(b, only_first) + xlogy(c, only_second) + xlogy(rest, 1 - only_first - only_second)
    return b, c, np.exp(log)


def passes(b, c, count, margin):
    """The same test for many counts at once, written from the paper's formula."""
    both = b + c
    linear = both * (1 + margin) + 2 * b * margin + 2 * (count - both) * margin
    constant = -b * margin * (1 + margin)
    share = np.maximum((linear + np.sqrt(linear**2 + 8 * count * constant)) / (4 * count), margin)
    variance = count * (2 * share - margin - margin**2)
    return (c - b + count * margin) / np.sqrt(np.maximum(variance, 1e-300)) > norm.isf(0.025)


@pytest.mark.parametrize(("count", "margin"), [(100, 0.05), (300, 0.02), (500, 0.01), (1000, 0.02)])
def test_at_the_margin_a_model_passes_in_at_most_the_level(count, margin):
    for disagreement in (margin * 1.001, margin * 1.5, margin * 3, 0.2):
        worse, better = (disagreement + margin) / 2, (disagreement - margin) / 2
        b, c, probability = outcome_table(count, worse, better)
        assert probability[passes(b, c, count, margin)].sum() <= 0.0265


def test_the_test_is_that_of_the_paper():
    rng = np.random.default_rng(0)
    for _ in range(60):
        count, margin = int(rng.integers(40, 800)), float(rng.uniform(0.005, 0.1))
        b, c = (int(one) for one in rng.integers(0, max(count // 8, 2), 2))
        found = paired_worsening(*decisions(b, c, count), margin)
        assert (found.p_value < 0.025) == bool(passes(np.array([b]), np.array([c]), count, margin)[0])
        assert (found.low > -margin) == (found.p_value < 0.025)


def test_the_restricted_share_maximises_the_likelihood():
    for b, c, count, difference in ((30, 20, 500, -0.02), (5, 9, 300, 0.01), (0, 3, 100, -0.05)):

        def loss(share, b=b, c=c, count=count, difference=difference):
            shares = np.array([share, share + difference, 1 - 2 * share - difference])
            return -xlogy([b, c, count - b - c], shares).sum() if (shares > 0).all() else np.inf

        low, high = max(0, -difference) + 1e-9, (1 - difference) / 2 - 1e-9
        best = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-10}).x
        assert restricted_disagreement(b, c, count, difference) == pytest.approx(2 * best + difference, abs=1e-5)


def test_unpaired_at_the_margin_passes_in_about_the_level():
    count, share, margin = 300, 0.9, 0.05
    first = np.arange(240, 301)
    weights = binom.pmf(first, count, share)
    total = 0.0
    for right, weight in zip(first, weights, strict=True):
        if weight < 1e-6:
            continue
        later = np.arange(210, 301)
        chance = binom.pmf(later, count, share - margin)
        # The p value falls as the later model gets better: the first count that passes is sought.
        low, high = 0, len(later) - 1
        while low < high:
            middle = (low + high) // 2
            values = [np.repeat([1.0, 0.0], [k, count - k]) for k in (right, later[middle])]
            low, high = (low, middle) if unpaired_worsening(*values, margin).p_value < 0.025 else (middle + 1, high)
        total += weight * chance[low:].sum()
    assert total <= 0.0275


def test_in_units_the_level_holds():
    rng, size, count, passed = np.random.default_rng(1), 8, 800, []
    for _ in range(600):
        common = rng.random(count // size)[np.arange(count) // size]
        draw = np.where(rng.random(count) < math.sqrt(0.3), common, rng.random(count))
        first, second = (draw < 0.9).astype(float), ((draw < 0.84) | ((draw > 0.9) & (draw < 0.93))).astype(float)
        passed.append(paired_worsening(first, second, 0.03, np.arange(count) // size).p_value < 0.025)
    assert np.mean(passed) <= 0.025 + 2 * math.sqrt(0.025 * 0.975 / 600)


def test_paired_beats_unpaired():
    rng = np.random.default_rng(2)
    paired = apart = 0
    for _ in range(100):
        draw = rng.random(600)
        first, second = (draw < 0.9).astype(float), ((draw < 0.88) | (draw > 0.98)).astype(float)
        other = (rng.random(600) < 0.9).astype(float)
        paired += paired_worsening(first, second, 0.02).p_value < 0.025
        apart += unpaired_worsening(first, other, 0.02).p_value < 0.025
    assert paired > 50 > 2 * apart


def test_equal_models_and_bad_input():
    same = paired_worsening(*decisions(0, 0, 500), 0.01)
    assert (same.difference, same.p_value < 0.025) == (0.0, True)
    assert paired_worsening(*decisions(0, 0, 100), 0.01).p_value > 0.025, "too few images to exclude a point"
    with pytest.raises(InputError, match="margin lies strictly between 0 and 1"):
        paired_worsening(*decisions(1, 1, 10), 1.5)
    with pytest.raises(InputError, match="same images, got 3 and 2"):
        paired_worsening(np.ones(3), np.ones(2), 0.1)
    with pytest.raises(InputError, match="0 or 1"):
        unpaired_worsening(np.full(3, 0.5), np.ones(3), 0.1)
