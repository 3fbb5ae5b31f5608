import pytest
from hypothesis import given
from hypothesis import strategies as st

from snellen.core.errors import InputError
from snellen.metrics.exact_test import fisher_greater


@given(first=st.integers(0, 40), more=st.integers(0, 40), second=st.integers(0, 200), rest=st.integers(0, 200))
def test_equals_scipy(first, more, second, rest):
    stats = pytest.importorskip("scipy.stats")
    expected = stats.fisher_exact([[first, more], [second, rest]], alternative="greater").pvalue
    assert fisher_greater(first, first + more, second, second + rest) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_counts_out_of_range():
    with pytest.raises(InputError, match="5 successes of 4"):
        fisher_greater(5, 4, 0, 1)
