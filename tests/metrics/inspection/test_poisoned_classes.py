"""Poison in the features of a class: found where there are two clusters, and not where there is one of any shape."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from snellen.core.errors import InputError
from snellen.metrics.inspection.poisoned_classes import (
    FEWEST,
    OUTLIER,
    SMALL,
    _at_most,
    poisoned_classes,
    reported,
    silhouette,
    two_modes_p_value,
)

CLASSES, EACH, WIDTH = 8, 120, 10


def features(seed=0, draw="normal", each=EACH):
    """Features (n, d) of equally large classes that lie apart, and their labels."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(CLASSES), each)
    shape = (len(labels), WIDTH)
    noise = {
        "normal": lambda: rng.normal(size=shape),
        "heavy": lambda: rng.standard_t(2, size=shape),
        "skewed": lambda: rng.gamma(0.5, size=shape),
        "rectified": lambda: np.maximum(rng.normal(size=shape) @ rng.normal(size=(WIDTH, WIDTH)), 0),
    }[draw]()
    return noise + 9 * np.eye(CLASSES, WIDTH)[labels], labels


def inspected(values, labels, seed=1, **options):
    return poisoned_classes(values, labels, rng=np.random.default_rng(seed), **options)


def flagged(found):
    return reported(found, alpha=0.05, outlier=OUTLIER)


def test_planted_images_are_named_and_their_class_alone():
    values, labels = features()
    values[:30, 9] += 12
    found = inspected(values, labels)
    assert flagged(found) == (0,)
    assert sorted(found[0].ranked()) == list(range(30))
    assert found[0].share == 0.25
    assert found[0].silhouette > 0.5
    assert found[0].scores[:30].min() > np.median(found[0].scores[30:])


@pytest.mark.parametrize("draw", ["normal", "heavy", "skewed", "rectified"])
def test_one_mode_of_any_shape_is_not_reported(draw):
    for seed in range(3):
        found = inspected(*features(seed, draw), seed=seed)
        assert len(found) == CLASSES
        assert flagged(found) == ()


def test_kinds_that_all_classes_have_are_not_reported_and_one_that_only_one_has_looks_like_poison():
    values, labels = features()
    kinds = np.arange(len(values)) % 2
    everywhere = values.copy()
    everywhere[:, 9] += 12 * kinds
    assert flagged(inspected(everywhere, labels)) == ()
    alone = values.copy()
    alone[:EACH, 9] += 12 * kinds[:EACH]
    assert flagged(inspected(alone, labels)) == (0,)


def test_whitening_shows_poison_behind_a_spread_that_all_classes_have():
    values, labels = features()
    values[:, 8] *= 40
    values[:30, 9] += 12
    assert sorted(inspected(values, labels)[0].ranked()) == list(range(30))
    hidden = inspected(values, labels, whiten=False)[0]
    assert not hidden.suspects[:30].all()


def test_poison_from_several_classes_is_distinguished_from_the_rest_although_it_is_the_larger_part():
    values, labels = features()
    planted = np.arange(70)
    sources = np.eye(WIDTH)[1 + planted % (CLASSES - 1)]
    values[planted] += 3 * sources
    values[planted, 9] += 12
    found = inspected(values, labels)[0]
    assert sorted(found.ranked()) == planted.tolist()
    assert found.mixture > 1.5


def test_scores_are_those_of_the_definition():
    values, labels = features()
    found = inspected(values, labels, whiten=False)[2]
    centred = values[labels == 2] - values[labels == 2].mean(0)
    _, _, right = np.linalg.svd(centred, full_matrices=False)
    assert found.scores == pytest.approx((centred @ right[0]) ** 2)
    assert found.rows.tolist() == np.flatnonzero(labels == 2).tolist()


def test_the_silhouette_is_that_of_the_definition():
    rng = np.random.default_rng(0)
    points, small = rng.normal(size=(700, 2)), np.arange(700) % 3 == 0
    apart = np.linalg.norm(points[:, None] - points[None], axis=2)
    each = []
    for row in range(700):
        own = small == small[row]
        inside, outside = apart[row, own].sum() / (own.sum() - 1), apart[row, ~own].mean()
        each.append((outside - inside) / max(inside, outside))
    assert silhouette(points, small) == pytest.approx(np.mean(each))
    assert silhouette(points, np.zeros(700, dtype=bool)) == 0.0


@given(st.integers(0, 60), st.integers(0, 60))
def test_the_count_between_is_binomial(between, beside):
    chance = 0.4 / (0.4 + SMALL[1] - SMALL[0])
    expected = binom.cdf(between, between + beside, chance) if beside else 1.0
    assert _at_most(between, beside, SMALL) == pytest.approx(expected, abs=1e-12)


def test_p_values_of_one_mode_hold_their_level():
    rng = np.random.default_rng(0)
    chances = [two_modes_p_value(rng.uniform(size=(60, 3)), rng=rng) for _ in range(50)]
    assert np.mean(np.array(chances) <= 0.05) <= 0.05
    two = rng.normal(size=(60, 3)) + 8 * (np.arange(60) < 20)[:, None]
    assert two_modes_p_value(two, rng=rng) < 0.01


def test_few_classes_are_judged_by_the_silhouette_itself():
    values, labels = features()
    three = labels < 3
    values[:30, 9] += 12
    found = inspected(values[three], labels[three])
    assert {one.z for one in found.values()} == {None}
    assert flagged(found) == (0,)


def test_small_and_unlabelled_classes_are_left_out_and_equal_images_break_nothing():
    values, labels = features()
    labels[labels == 1] = -1
    labels[np.flatnonzero(labels == 2)[FEWEST - 1 :]] = -1
    values[labels == 3] = 1.0
    found = inspected(values, labels)
    assert set(found) == {0, 3, 4, 5, 6, 7}
    assert (found[3].p_value, found[3].silhouette, found[3].share) == (1.0, 0.0, 0.0)
    alone = inspected(values[labels == 4], labels[labels == 4])
    assert set(alone) == {4}


@pytest.mark.parametrize("wrong", [np.full((4, 2), np.nan), np.zeros(4), np.zeros((3, 2))])
def test_what_does_not_fit_is_refused(wrong):
    with pytest.raises(InputError, match=r"expected finite features \(n, d\) and labels \(n,\)"):
        inspected(wrong, np.zeros(4, dtype=int))
