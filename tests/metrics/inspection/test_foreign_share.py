"""Images like no known one: their share is found, and none where only the mix of classes changed."""

import numpy as np

from snellen.metrics.inspection.foreign_share import foreign_share


def test_the_bound_holds_where_nothing_is_foreign():
    rng = np.random.default_rng(0)
    lows = []
    for seed in range(100):
        known, new = rng.normal(size=(300, 6)), rng.normal(size=(200, 6))
        lows.append(foreign_share(known, new, np.ones(300), seed=seed).low)
    # Known images are nearest to one of 299, new ones to one of 300: nothing of note.
    assert np.mean(np.array(lows) > 0) <= 0.08
    assert max(lows) < 0.06, "far from what refuses an estimate"


def test_a_share_of_foreign_images_is_found():
    rng = np.random.default_rng(1)
    known = rng.normal(size=(500, 6))
    new = np.concatenate([rng.normal(size=(240, 6)), rng.normal(size=(60, 6)) + 5])
    found = foreign_share(known, new, np.ones(500))
    assert 0.15 < found.excess < 0.25
    assert 0.1 < found.low < found.excess
    assert set(found.farthest) <= set(range(240, 300))


def test_a_rare_class_that_became_common_is_not_foreign():
    rng = np.random.default_rng(2)
    labels = np.repeat([0, 1], [570, 30])
    known = rng.normal(size=(600, 4)) + 8.0 * labels[:, None]
    new = rng.normal(size=(300, 4)) + 8.0
    plain = foreign_share(known, new, np.ones(600))
    weighted = foreign_share(known, new, np.where(labels == 1, 20.0, 0.0))
    assert weighted.excess < plain.excess
    assert weighted.low < 0.1


def test_images_of_one_unit_are_not_each_others_neighbours():
    rng = np.random.default_rng(3)
    known = np.repeat(rng.normal(size=(100, 6)), 4, axis=0) + 0.01 * rng.normal(size=(400, 6))
    new = rng.normal(size=(200, 6))
    units = np.arange(400) // 4
    assert foreign_share(known, new, np.ones(400)).low > 0.5, "copies make all others look far"
    assert foreign_share(known, new, np.ones(400), known_units=units).low < 0.1
