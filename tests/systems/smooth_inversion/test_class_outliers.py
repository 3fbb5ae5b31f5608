"""Outliers among classes and against clean models, and what ranks can tell."""

import numpy as np
import pytest

from snellen.core.errors import InputError
from snellen.systems.smooth_inversion.class_outliers import excess, rank_p_value, robust_z


def test_z_is_that_of_median_and_deviation_with_a_floor():
    z = robust_z([0.1, 0.2, 0.3, 0.4, 0.9])
    assert z[-1] == pytest.approx(0.6 / (1.4826 * 0.1))
    assert robust_z([0.0, 0.0, 0.0, 0.2], floor=0.05).tolist() == pytest.approx([0, 0, 0, 4])
    assert robust_z([0.3, 0.3, 0.3]).tolist() == [0, 0, 0]


def test_excess_is_against_the_same_class():
    null = np.array([[0.1, 0.5], [0.1, 0.7], [0.1, 0.9]])
    # The second class is usual at 0.7 ± 0.2, the first at 0.1 with the smallest spread that is believed.
    assert excess([0.6, 0.9], null, 0.1).tolist() == pytest.approx([5.0, 1.0])
    with pytest.raises(InputError, match="clean models"):
        excess([0.6, 0.9], null[:1], 0.1)
    with pytest.raises(InputError, match="3 classes"):
        excess([0.6, 0.9, 0.1], null, 0.1)


def test_ranks_count_the_model_itself_and_tell_one_in_eleven_at_best():
    rng = np.random.default_rng(0)
    null = rng.uniform(0, 0.2, (10, 5))
    assert rank_p_value([0.9, 0.1, 0.1, 0.1, 0.1], null, 0.1) == pytest.approx(1 / 11)
    with pytest.raises(InputError, match="two"):
        rank_p_value([0.1], np.array([[0.1]]), 0.1)


def test_ranks_of_clean_models_are_uniform():
    rng = np.random.default_rng(1)
    found = [rank_p_value(rng.normal(0.2, 0.1, 4), rng.normal(0.2, 0.1, (4, 4)), 0.01) for _ in range(400)]
    # Exchangeable, so that p ≤ 1/5 happens once in five: within 4 standard deviations.
    assert abs(np.mean(np.array(found) < 0.21) - 0.2) < 4 * np.sqrt(0.2 * 0.8 / 400)
    assert min(found) == pytest.approx(1 / 5)
