"""A second class is told by a scorer that sees objects, and not by one that scores noise."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from snellen.metrics.inspection.shown_classes import ShownClasses, shown_classes, windows

CORNERS = np.array([0, 2, 6, 8])


def judged(classes: int, above: float, pairs: float, *, count: int = 600, seed: int = 0) -> ShownClasses:
    """Windows with scores N(0, 1), higher for the object in one corner, and for a second one in a share of images."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    scores: NDArray[np.float64] = rng.normal(size=(count, 9, classes))
    for row, label in enumerate(labels):
        first, second = rng.permutation(CORNERS)[:2]
        scores[row, first, label] += above
        if rng.random() < pairs:
            scores[row, second, (label + rng.integers(1, classes)) % classes] += above
    return shown_classes(scores.argmax(2), scores.max(2), labels, windows(3))


@pytest.mark.parametrize("classes", [2, 3, 5, 10])
@pytest.mark.parametrize("above", [0.0, 0.5, 1.0])
def test_a_weak_scorer_tells_nothing(classes: int, above: float) -> None:
    shown = judged(classes, above, pairs=0.0)
    assert (shown.second >= 0).mean() <= 0.02
    assert len(shown.weak) >= classes - 1
    assert shown.judged.mean() <= 1 / classes


@pytest.mark.parametrize("classes", [2, 3, 5, 10])
def test_a_good_scorer_tells_pairs_and_nothing_of_single_objects(classes: int) -> None:
    single, pairs = judged(classes, 6.0, pairs=0.0), judged(classes, 6.0, pairs=0.4)
    assert (single.weak, pairs.weak) == ((), ())
    assert single.judged.all()
    assert (single.second >= 0).mean() <= 0.01
    assert 0.05 <= (pairs.second >= 0).mean() <= 0.2, "both objects as strong as is typical: a quarter of 0.4"
