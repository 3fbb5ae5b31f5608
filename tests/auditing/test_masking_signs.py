"""Signs of masked gradients: exact tests against scipy, level by simulation, units."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from snellen.auditing.masking import (
    Sign,
    binomial_tail,
    breaks_more,
    established,
    joint_p_value,
    share_above,
)
from snellen.core.errors import InputError


@given(st.integers(1, 300), st.floats(0, 1), st.floats(0.01, 0.5))
def test_the_binomial_tail_is_scipys(n, part, share):
    count = int(part * n)
    assert binomial_tail(count, n, share) == pytest.approx(binom.sf(count - 1, n, share), rel=1e-8, abs=1e-14)


def test_a_share_is_reported_beyond_the_tolerance_only():
    seen = np.arange(100) < 25
    sign = share_above("zero", "zero on {share}", seen, 0.1)
    assert sign.words == "zero on 25.0%"
    assert sign.p_value == pytest.approx(binomtest(25, 100, 0.1, alternative="greater").pvalue)
    assert share_above("zero", "", np.arange(100) < 10, 0.1).p_value > 0.4


def test_both_tests_must_refuse():
    again, plain = np.ones(200, dtype=bool), np.arange(200) < 190
    assert breaks_more("x", "", again, plain, 0.1).p_value > 0.9, "a little stronger, within the tolerance"
    swapped = (np.arange(200) < 100, np.arange(200) >= 100)
    assert breaks_more("x", "", *swapped, 0.1).p_value > 0.4, "each breaks as many alone"
    assert breaks_more("x", "", again, np.arange(200) < 100, 0.1).p_value < 1e-12


def test_where_gradients_are_sound_another_objective_tells_nothing():
    again, plain = np.ones(100, dtype=bool), np.arange(100) < 40
    sound = breaks_more("x", "{again} and {plain}", again, plain, 0.1, None, np.zeros(100, dtype=bool))
    assert (sound.p_value, sound.words) == (1.0, "100.0% and 40.0%")
    assert breaks_more("x", "", again, plain, 0.1, None, np.ones(100, dtype=bool)).p_value < 1e-9


def test_units_count_once():
    units = np.repeat(np.arange(5), 20)
    again, plain = np.ones(100, dtype=bool), np.zeros(100, dtype=bool)
    assert breaks_more("x", "", again, plain, 0.1, units).p_value == pytest.approx(0.5**5)
    assert share_above("x", "", again, 0.1, units).p_value == pytest.approx(1e-5)


def test_the_level_holds_at_the_edge_of_no_masking():
    rng = np.random.default_rng(0)
    told = 0
    for _ in range(600):
        # The other attack alone breaks a tenth, the plain one alone a tenth: the edge of both hypotheses.
        draw = rng.random(150)
        again, plain = (draw < 0.1) | (draw > 0.5), ((draw >= 0.1) & (draw < 0.2)) | (draw > 0.5)
        told += breaks_more("x", "", again, plain, 0.1).p_value <= 0.05
    assert told / 600 <= 0.05


def test_joint_p_value_and_holm():
    signs = [Sign(name, "", p, np.zeros(3), None) for name, p in (("a", 0.04), ("b", 0.001), ("c", 0.02), ("d", 0.9))]
    assert joint_p_value(signs) == pytest.approx(0.004)
    assert [sign.name for sign in established(signs)] == ["b"]
    assert [sign.name for sign in established(signs[1:3])] == ["b", "c"]
    assert joint_p_value(signs[3:] * 3) == 1.0


def test_harm_is_a_lower_bound():
    sign = breaks_more("x", "", np.ones(200, dtype=bool), np.arange(200) < 100, 0.1)
    assert 0.3 < sign.harm(0.99) < sign.harm(0.9) < 0.5


def test_bad_input_is_named():
    with pytest.raises(InputError, match="at least one image"):
        share_above("x", "", np.zeros(0, dtype=bool), 0.1)
    with pytest.raises(InputError, match=r"a count in 0 … 3 and a share in \(0, 1\), got 4"):
        binomial_tail(4, 3, 0.1)
