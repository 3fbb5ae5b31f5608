"""The saliency mixture: it sums to 1, and draws follow it."""

import numpy as np
import pytest
from scipy import stats

from snellen.systems.feature_guided_search.features import Features
from snellen.systems.feature_guided_search.salience import Salience

FEATURES = Features(
    x=np.array([2.0, 9.5, -0.4]), y=np.array([3.0, 1.0, 7.2]), size=np.array([1.0, 3.0, 0.1]),
    response=np.array([0.06, 0.03, 0.01]),
)  # fmt: skip


@pytest.mark.covers("15.3")
@pytest.mark.parametrize("extra", [0.0, 15.0])
def test_density_sums_to_one_over_the_pixels(extra):
    salience = Salience(FEATURES, height=8, width=11, extra_spread=extra)
    density = salience.density()
    assert density.shape == (8, 11)
    assert density.sum() == pytest.approx(1, abs=1e-12)
    assert (density >= 0).all()
    for feature in range(3):
        assert salience.of_feature(feature).sum() == pytest.approx(1, abs=1e-12)
    assert Salience(None, 8, 11).density().ravel() == pytest.approx(1 / 88)


@pytest.mark.covers("15.3")
def test_spread_is_the_size_of_the_feature_and_what_is_added():
    salience = Salience(FEATURES, 200, 200, extra_spread=2.0)
    assert salience.spreads.tolist() == [3.0, 5.0, 2.1]
    far = Salience(Features(np.array([100.0]), np.array([60.0]), np.array([6.0]), np.ones(1)), 200, 200)
    density = far.of_feature(0).reshape(200, 200)
    columns = np.arange(200)
    assert (density.sum(0) * columns).sum() == pytest.approx(100)
    assert np.sqrt((density.sum(0) * (columns - 100) ** 2).sum()) == pytest.approx(6, rel=0.01)


@pytest.mark.covers("15.3")
def test_draws_follow_the_density_of_their_feature():
    salience, rng = Salience(FEATURES, 8, 11), np.random.default_rng(0)
    free = np.zeros(88, dtype=bool)
    for feature in range(3):
        drawn = np.array([salience.draw(np.array([feature]), free, rng)[0] for _ in range(3000)])
        expected = salience.of_feature(feature) * 3000
        often = expected >= 5
        seen = np.bincount(drawn, minlength=88)
        groups = np.append(seen[often], seen[~often].sum()), np.append(expected[often], expected[~often].sum())
        keep = groups[1] > 0
        assert stats.chisquare(groups[0][keep], groups[1][keep] * 3000 / groups[1][keep].sum()).pvalue > 1e-3


def test_no_pixel_twice_and_none_that_is_taken():
    salience, rng = Salience(FEATURES, 8, 11), np.random.default_rng(1)
    taken = np.zeros(88, dtype=bool)
    taken[:40] = True
    drawn = salience.draw(np.zeros(60, dtype=np.int64), taken, rng)
    found = drawn[drawn >= 0]
    assert sorted(found) == list(range(40, 88)), "all that were free, then no more"
    assert (drawn < 0).sum() == 12


def test_the_exact_way_has_the_same_law_as_throwing_again():
    # Everything near the feature is taken: the law of what is left is the density over free pixels.
    salience, rng = Salience(FEATURES, 8, 11), np.random.default_rng(2)
    taken = np.ones(88, dtype=bool)
    taken[[0, 5, 87]] = False
    drawn = np.array([salience.draw(np.array([0]), taken, rng)[0] for _ in range(1500)])
    mass = salience.of_feature(0)[[0, 5, 87]]
    seen = np.array([(drawn == pixel).sum() for pixel in (0, 5, 87)])
    expected = 1500 * mass / mass.sum()
    assert np.abs(seen - expected).max() < 4 * np.sqrt(expected.max()) + 1


def test_shares_say_whose_pixels_they_are():
    salience = Salience(FEATURES, 8, 11)
    near = salience.shares(np.array([3 * 11 + 2]))
    assert near.argmax() == 0
    assert near.sum() == pytest.approx(1)
    assert salience.shares(np.zeros(0, dtype=np.int64)).tolist() == FEATURES.weights.tolist()
