"""Unit codes: by sorted id, whatever the order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snellen.core.errors import InputError
from snellen.metrics.units import dense_codes, unit_codes


@given(st.lists(st.text(max_size=3), max_size=30), st.randoms(use_true_random=False))
def test_codes_name_the_same_units_in_any_order(ids: list[str], order: object) -> None:
    codes = unit_codes(ids)
    assert codes.dtype == np.int64
    assert codes.shape == (len(ids),)
    assert [sorted(set(ids))[code] for code in codes] == ids
    places = list(range(len(ids)))
    order.shuffle(places)  # type: ignore[attr-defined]
    assert unit_codes([ids[place] for place in places]).tolist() == [codes[place] for place in places]


def test_ids_that_differ_in_a_trailing_nul_are_different() -> None:
    assert unit_codes(["a", "a\0", "a"]).tolist() == [0, 1, 0]


def test_codes_without_gaps() -> None:
    assert dense_codes(np.array([40, -3, 40, 7]), 4).tolist() == [2, 0, 2, 1]
    assert dense_codes(None, 3).tolist() == [0, 1, 2]
    assert dense_codes(np.zeros(0, dtype=np.int64), 0).tolist() == []


@pytest.mark.parametrize("units", [np.zeros(2, dtype=np.int64), np.zeros(3), np.zeros((3, 1), dtype=np.int64)])
def test_codes_that_do_not_fit(units: np.ndarray) -> None:
    with pytest.raises(InputError, match="3 values need as many integer unit codes"):
        dense_codes(units, 3)
