"""Overlap of masks: closed forms, scikit-learn, and what both measures have to do with each other."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.metrics import f1_score, jaccard_score

from snellen.core.errors import InputError
from snellen.metrics.mask_overlap import dice, intersection_over_union

pairs = st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5)).flatmap(
    lambda shape: st.tuples(arrays.arrays(bool, shape), arrays.arrays(bool, shape))
)


def square(left: int, size: int = 10) -> np.ndarray:
    mask = np.zeros((1, 40, 40), dtype=bool)
    mask[0, :size, left : left + size] = True
    return mask


@pytest.mark.parametrize("shift", [0, 1, 5, 9, 10, 20])
def test_shifted_squares(shift):
    common = max(0, 10 - shift)
    assert intersection_over_union(square(0), square(shift))[0] == common / (20 - common)
    assert dice(square(0), square(shift))[0] == common / 10


@given(pairs)
def test_equal_to_scikit_learn(both):
    first, second = both
    overlaps, coefficients = intersection_over_union(first, second), dice(first.astype(int), second)
    for one, other, overlap, coefficient in zip(first, second, overlaps, coefficients, strict=True):
        if not (one | other).any():
            assert np.isnan([overlap, coefficient]).all()
            continue
        assert overlap == pytest.approx(jaccard_score(one.ravel(), other.ravel()), abs=1e-12)
        assert coefficient == pytest.approx(f1_score(one.ravel(), other.ravel()), abs=1e-12)
        assert coefficient == pytest.approx(2 * overlap / (1 + overlap), abs=1e-12)


@given(pairs)
def test_the_order_does_not_count_and_a_mask_is_itself(both):
    first, second = both
    for measure in (intersection_over_union, dice):
        assert np.array_equal(measure(first, second), measure(second, first), equal_nan=True)
        same = measure(first, first)
        assert (same[first.any((1, 2))] == 1).all()
        assert np.isnan(same[~first.any((1, 2))]).all()


@pytest.mark.parametrize(
    ("masks", "truth", "message"),
    [
        (square(0)[0], square(0)[0], r"two sets of masks \(n, h, w\), got \(40, 40\)"),
        (square(0), square(0)[:, :20], r"got \(1, 40, 40\) and \(1, 20, 40\)"),
        (square(0) * 0.7, square(0), r"got float64 with \[0.0, 0.7\]. Cut probabilities first: masks > 0.5"),
        (square(0) * 255, square(0), r"got int64 with \[0, 255\]"),
    ],
)
def test_what_is_refused(masks, truth, message):
    for measure in (intersection_over_union, dice):
        with pytest.raises(InputError, match=message):
            measure(masks, truth)


def test_no_masks_have_no_overlap():
    assert intersection_over_union(np.zeros((0, 4, 4), bool), np.zeros((0, 4, 4), bool)).shape == (0,)
