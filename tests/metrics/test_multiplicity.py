"""Selection among many tests: the definition, and both rates by simulation."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from snellen.core.errors import InputError
from snellen.metrics.clustered import clustered_mean
from snellen.metrics.multiplicity import adjusted_p_values, benjamini_hochberg, selected_confidence

several = st.lists(st.floats(0, 1), min_size=1, max_size=40)


@settings(deadline=None, max_examples=50)
@given(several)
def test_adjusted_by_its_definition(p_values: list[float]) -> None:
    ranked = sorted(p_values)
    least = {
        p: min(1.0, min(later * len(ranked) / rank for rank, later in enumerate(ranked, 1) if later >= p))
        for p in ranked
    }
    assert adjusted_p_values(p_values) == pytest.approx([least[p] for p in p_values], rel=1e-12, abs=1e-300)


def test_p_values_on_the_line_are_selected() -> None:
    # 0.05 · 3 / 3 is more than 0.05 in floating point.
    assert benjamini_hochberg([0.05, 0.05, 0.05]).all()
    assert benjamini_hochberg([0.025] * 3 + [1.0] * 3).tolist() == [True] * 3 + [False] * 3
    assert adjusted_p_values([]).tolist() == []


@settings(deadline=None, max_examples=50)
@given(several, st.floats(0.01, 0.5), st.randoms(use_true_random=False))
def test_selection_is_the_largest_rank_below_the_line(p_values: list[float], rate: float, order: object) -> None:
    selected = benjamini_hochberg(p_values, rate)
    ranked = sorted(p_values)
    largest = max((i for i, p in enumerate(ranked, 1) if p * (len(ranked) / i) <= rate), default=0)
    assert selected.sum() >= largest  # more only where the next p values are equal
    assert all(
        chosen == (largest > 0 and p <= ranked[largest - 1]) for p, chosen in zip(p_values, selected, strict=True)
    )
    places = list(range(len(p_values)))
    order.shuffle(places)  # type: ignore[attr-defined]
    assert benjamini_hochberg([p_values[place] for place in places], rate).tolist() == selected[places].tolist()


def test_example_of_the_paper() -> None:
    # Benjamini and Hochberg (1995), section 3.2: four of fifteen at 0.05.
    p_values = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528]
    p_values += [0.7590, 1.0]
    assert benjamini_hochberg(p_values).sum() == 4
    assert selected_confidence(4, 15) == pytest.approx(1 - 0.05 * 4 / 15)


@pytest.mark.parametrize("correlation", [0.0, 0.5])
def test_both_rates_hold_in_simulation(correlation: float) -> None:
    generator, normal = np.random.default_rng(0), NormalDist()
    tests, repetitions = 20, 2000
    truth = np.array([0.0] * 14 + [1.5] * 3 + [3.0] * 3)
    common = generator.normal(size=(repetitions, 1))
    noise = math.sqrt(correlation) * common + math.sqrt(1 - correlation) * generator.normal(size=(repetitions, tests))
    found = truth + noise
    tails = np.array([math.erfc(value / math.sqrt(2)) / 2 for value in found.reshape(-1)]).reshape(found.shape)
    false, missed, missed_as_usual = [], [], []
    for values, p_values in zip(found, tails, strict=True):
        selected = benjamini_hochberg(p_values)
        count = max(int(selected.sum()), 1)
        false.append((selected & (truth == 0)).sum() / count)
        low = values - normal.inv_cdf(selected_confidence(int(selected.sum()), tests))
        assert ((low > 0) == selected).all() or not selected.any()
        missed.append((selected & (low > truth)).sum() / count)
        missed_as_usual.append((selected & (values - normal.inv_cdf(0.95) > truth)).sum() / count)
    error = 3 * np.std(false) / math.sqrt(repetitions)
    assert np.mean(false) <= 0.05 * 14 / tests + error  # the rate times the share of true hypotheses, exactly
    assert np.mean(missed) <= 0.05 + 3 * np.std(missed) / math.sqrt(repetitions)
    assert np.mean(missed_as_usual) > np.mean(missed) + error


def test_bounds_of_the_selected_agree_with_the_selection() -> None:
    generator = np.random.default_rng(3)
    units = np.repeat(np.arange(40), 3)
    results = [clustered_mean(generator.normal(shift, 1, 120), units) for shift in np.repeat([0.0, 0.2, 0.5], 5)]
    selected = benjamini_hochberg([result.p_value() for result in results])
    confidence = selected_confidence(int(selected.sum()), len(results))
    assert 0 < selected.sum() < len(results)
    assert [result.lower(confidence) > 0 for result in results] == selected.tolist()


def test_ends() -> None:
    assert adjusted_p_values([]).tolist() == benjamini_hochberg([]).tolist() == []
    assert benjamini_hochberg([0.05, 0.0500001]).tolist() == [False, False]
    assert benjamini_hochberg([0.05]).tolist() == [True]
    assert adjusted_p_values([0.0, 1.0, 1.0]).tolist() == [0, 1, 1]
    assert selected_confidence(0, 20) == selected_confidence(1, 20) == 1 - 0.05 / 20
    assert selected_confidence(20, 20, 0.1) == 0.9


def test_what_cannot_be_used() -> None:
    for p_values in ([0.5, math.nan], [-0.1], [1.1], [[0.5]]):
        with pytest.raises(InputError, match="expected p values"):
            adjusted_p_values(p_values)  # type: ignore[arg-type]
    for selected, tested in ((3, 2), (-1, 2), (0, 0)):
        with pytest.raises(InputError, match="cannot have been selected"):
            selected_confidence(selected, tested)
    for rate in (0.0, 1.0, 5.0, math.nan):
        with pytest.raises(InputError, match="a rate lies strictly"):
            benjamini_hochberg([0.5], rate)
        with pytest.raises(InputError, match="a rate lies strictly"):
            selected_confidence(1, 2, rate)
