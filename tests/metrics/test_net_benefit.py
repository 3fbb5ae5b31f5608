"""Net benefit: its closed form, the decision curve of the literature, and intervals that cover, with units too."""

import numpy as np
import pytest

from snellen.core.errors import InputError
from snellen.metrics.net_benefit import net_benefit, net_benefit_interval, treat_all


def drawn(rng, units, size, prevalence=0.3, sensitivity=0.8, specificity=0.9, shared=0.3):
    """Labels of a unit are alike, and so, in part, are its decisions."""
    positive = np.repeat(rng.random(units) < prevalence, size)
    right = np.where(positive, sensitivity, specificity)
    if size > 1:
        within = (1 - shared) / shared
        each = [
            rng.beta(share * within, (1 - share) * within, units).repeat(size) for share in (sensitivity, specificity)
        ]
        right = np.where(positive, *each)
    correct = rng.random(units * size) < right
    return positive, np.where(correct, positive, ~positive), np.repeat(np.arange(units), size)


def test_the_closed_form_is_that_of_counts():
    rng = np.random.default_rng(0)
    positive, called, _ = drawn(rng, 500, 1)
    for exchange in (0.1, 0.35, 0.8):
        found = (called & positive).sum() / 500 - (called & ~positive).sum() / 500 * exchange / (1 - exchange)
        share = called[positive].mean(), 1 - called[~positive].mean()
        assert net_benefit(*share, positive.mean(), exchange) == pytest.approx(found)
        assert treat_all(positive.mean(), exchange) == pytest.approx(
            positive.mean() - (1 - positive.mean()) * exchange / (1 - exchange)
        )
    assert treat_all(0.3, 0.3) == pytest.approx(0)


@pytest.mark.parametrize(("units", "size"), [(200, 1), (80, 6)])
@pytest.mark.parametrize("prevalence", [None, 0.05])
def test_intervals_cover_with_units_and_at_a_stated_prevalence(units, size, prevalence):
    truth = net_benefit(0.8, 0.9, prevalence or 0.3, 0.2)
    covered = 0
    for seed in range(300):
        positive, called, codes = drawn(np.random.default_rng(seed), units, size)
        low, high = net_benefit_interval(called, positive, None if size == 1 else codes, 0.2, prevalence)
        covered += low <= truth <= high
    assert 0.93 <= covered / 300 <= 0.99


def test_units_taken_for_images_would_not_cover():
    truth, covered = net_benefit(0.8, 0.9, 0.05, 0.2), 0
    for seed in range(200):
        positive, called, _ = drawn(np.random.default_rng(seed), 80, 6, shared=0.6)
        low, high = net_benefit_interval(called, positive, None, 0.2, 0.05)
        covered += low <= truth <= high
    assert covered / 200 < 0.9


@pytest.mark.parametrize(("sign", "width"), [(1, "narrow"), (-1, "wide")])
def test_found_positives_and_false_alarms_of_one_unit_count_together(sign, width):
    """Units that call much (found positives with false alarms), or that are good (the one without the other)."""
    truth, covered, spans = net_benefit(0.5, 0.5, 0.5, 0.5), 0, []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        calls = rng.beta(1, 1, 60).repeat(10)
        positive = np.tile([True, False], 300)
        called = rng.random(600) < np.where(positive | (sign > 0), calls, 1 - calls)
        low, high = net_benefit_interval(called, positive, np.arange(60).repeat(10), 0.5, 0.5)
        covered += low <= truth <= high
        spans.append(high - low)
    assert 0.93 <= covered / 300 <= 0.98
    assert (np.mean(spans) < 0.08) == (width == "narrow")


def test_no_image_of_a_class_leaves_all_open():
    called = np.ones(5, dtype=bool)
    assert net_benefit_interval(called, called, None, 0.5, 0.1) == pytest.approx((-0.9, 0.1))
    for value in (0, 1, -1):
        with pytest.raises(InputError, match="strictly between 0 and 1"):
            treat_all(value, 0.5)
        with pytest.raises(InputError, match="strictly between 0 and 1"):
            treat_all(0.5, value)
