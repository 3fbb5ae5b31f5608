import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_score, recall_score

from snellen.data.worlds.optotypes.truth import attribute_f1, pooled


def test_scores_equal_those_of_an_independent_library():
    rng = np.random.default_rng(0)
    names = np.array([f"attribute {number}" for number in range(12)])
    predicted, true = rng.random((40, 12)) < 0.4, rng.random((40, 12)) < 0.5
    predicted[:, 0] = true[:, 0] = True
    scores = [
        attribute_f1(frozenset(names[one]), frozenset(names[other])) for one, other in zip(predicted, true, strict=True)
    ]
    assert [score.f1 for score in scores] == pytest.approx(
        [f1_score(other, one) for one, other in zip(predicted, true, strict=True)]
    )
    whole = pooled(scores)
    assert whole.precision == pytest.approx(precision_score(true, predicted, average="micro"))
    assert whole.recall == pytest.approx(recall_score(true, predicted, average="micro"))
    assert whole.f1 == pytest.approx(f1_score(true, predicted, average="micro"))


def test_empty_sets():
    nothing, some = frozenset(), frozenset({"red"})
    assert attribute_f1(nothing, nothing).f1 == 1
    assert (attribute_f1(nothing, some).precision, attribute_f1(nothing, some).recall) == (1, 0)
    assert (attribute_f1(some, nothing).precision, attribute_f1(some, nothing).f1) == (0, 0)
    assert pooled([]).f1 == 1
