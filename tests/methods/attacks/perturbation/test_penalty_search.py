"""The bisection of the penalty's weight."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from snellen.methods.attacks.perturbation.penalty_search import Weights


def starting(count=1, first=1e-3):
    return Weights.starting(count, first=first, largest=1e10, like=torch.zeros(1))


def test_up_tenfold_until_something_is_found_then_bisects_the_bracket():
    weights = starting()
    seen = []
    for found in (False, False, True, False, True):
        weights = weights.after(torch.tensor([found]))
        seen.append(round(float(weights.current), 6))
    # The lower bound is 0.01 when 0.1 succeeds.
    assert seen == [0.01, 0.1, 0.055, 0.0775, 0.06625]


def test_down_by_factors_of_two_while_it_goes_on_succeeding():
    weights = starting(first=1.0)
    seen = []
    for _ in range(3):
        weights = weights.after(torch.tensor([True]))
        seen.append(float(weights.current))
    assert seen == [0.5, 0.25, 0.125]


@given(st.floats(1e-6, 1e6))
def test_finds_any_threshold(threshold):
    weights = starting()
    for _ in range(60):
        weights = weights.after(weights.current >= threshold)
    assert abs(float(weights.upper) / threshold - 1) < 1e-3
    assert float(weights.lower) < threshold <= float(weights.upper)


def test_images_do_not_share_bounds():
    weights = starting(3)
    found = torch.tensor([True, False, True])
    together = weights.after(found)
    for i in range(3):
        alone = starting().after(found[i : i + 1])
        assert float(alone.current) == float(together.current[i])
    part = torch.tensor([1])
    put = weights.put(part, weights[part].after(torch.tensor([False])))
    assert put.current.tolist() == [1e-3, 1e-2, 1e-3]
    assert put.lower.tolist() == [0, 1e-3, 0]


def test_the_last_resort_is_the_upper_bound():
    assert float(starting().after(torch.tensor([False])).at_upper().current) == 1e10
