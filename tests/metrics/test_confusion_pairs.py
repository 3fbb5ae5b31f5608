"""Confusions in order of frequency: against a plain count, with ties, and where there are none."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snellen.core.errors import InputError
from snellen.metrics.classification import ConfusionCounts, confusion_pairs

pairs = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=60)


@given(pairs, st.integers(1, 30))
def test_against_a_plain_count(case: list[tuple[int, int]], most: int) -> None:
    labels, predictions = (list(column) for column in zip(*case, strict=True))
    images, wrong = Counter(labels), Counter(pair for pair in case if pair[0] != pair[1])
    expected = sorted((-times, -times / images[label], label, guess) for (label, guess), times in wrong.items())
    found = confusion_pairs(ConfusionCounts.of(labels, predictions, 5), most)
    assert [(-one.times, -one.share, one.label, one.prediction) for one in found] == expected[:most]


def test_plain_types_and_ties() -> None:
    counts = ConfusionCounts(np.array([[0, 2, 1], [2, 2, 0], [1, 0, 0]]))
    found = confusion_pairs(counts)
    assert found == [(0, 1, 2, 2 / 3), (1, 0, 2, 0.5), (2, 0, 1, 1.0), (0, 2, 1, 1 / 3)]
    assert [type(value) for value in found[0]] == [int, int, int, float]


def test_nothing_confused() -> None:
    assert confusion_pairs(ConfusionCounts.of([], [], 3)) == []
    assert confusion_pairs(ConfusionCounts.of([0, 1], [0, 1], 2)) == []


def test_refused() -> None:
    with pytest.raises(InputError, match="most=0"):
        confusion_pairs(ConfusionCounts.of([0], [1], 2), 0)
