"""Pooling of bags: the formulas bag by bag, and bags that say nothing."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from snellen.core.errors import InputError, UnknownNameError
from snellen.metrics.bag_pooling import SHARPNESS, Pooling, pooled

ORACLE = {
    "mean": np.mean,
    "max": np.max,
    "log_sum_exp": lambda p: np.log(np.mean(np.exp(SHARPNESS * p))) / SHARPNESS,
    "noisy_or": lambda p: 1 - np.prod(1 - p),
}


def drawn(seed=0, instances=200, bags=17):
    rng = np.random.default_rng(seed)
    owners = np.concatenate([np.arange(bags), rng.integers(0, bags, instances - bags)])
    return rng.beta(0.5, 2, instances), rng.permutation(owners)


@pytest.mark.parametrize("pooling", get_args(Pooling))
def test_each_bag_is_pooled_by_its_formula(pooling):
    values, owners = drawn()
    found = pooled(values, owners, 17, pooling=pooling)
    expected = [ORACLE[pooling](values[owners == bag]) for bag in range(17)]
    assert np.allclose(found, expected, atol=1e-12)


@given(arrays(np.float64, st.integers(1, 30), elements=st.floats(0, 1)))
def test_poolings_are_ordered_and_are_probabilities(values):
    owners = np.zeros(len(values), dtype=np.int64)
    mean, most, sharp, either = (
        float(pooled(values, owners, 1, pooling=one)[0]) for one in ("mean", "max", "log_sum_exp", "noisy_or")
    )
    assert 0 <= mean <= sharp + 1e-9 <= most + 2e-9 <= either + 3e-9 <= 1 + 4e-9


def test_an_empty_bag_has_no_score():
    for pooling in get_args(Pooling):
        found = pooled([0.2, 0.4], np.array([2, 2]), 4, pooling=pooling)
        assert np.isnan(found).tolist() == [True, True, False, True]


@pytest.mark.parametrize(
    ("values", "owners", "message"),
    [
        ([0.5, np.nan], [0, 0], "not logits"),
        ([1.5, 0.0], [0, 0], "not logits"),
        ([0.5, 0.5], [0, 3], "0 to 3"),
        ([0.5], [0, 0], "as many bags"),
    ],
)
def test_what_is_no_probability_of_a_bag_is_refused(values, owners, message):
    with pytest.raises(InputError, match=message):
        pooled(values, np.array(owners), 2, pooling="mean")


def test_an_unknown_pooling_is_refused():
    with pytest.raises(UnknownNameError, match="median"):
        pooled([0.5], np.array([0]), 1, pooling="median")
