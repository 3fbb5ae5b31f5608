"""Cross-entropy on divided scores: values and gradients that do not vanish with the scale."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from snellen.core.errors import InputError
from snellen.methods.attacks.perturbation.rescaled_objectives import standardised_cross_entropy, tempered_cross_entropy


def scores(factor=1.0):
    return factor * torch.randn(8, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


LABELS = torch.arange(8) % 5


@given(st.floats(0.01, 1000))
def test_tempered_is_cross_entropy_of_divided_scores(temperature):
    ours = tempered_cross_entropy(temperature)(scores(), LABELS)
    assert torch.allclose(ours, F.cross_entropy(scores() / temperature, LABELS, reduction="none"))


@given(st.floats(1e-3, 1e6))
def test_standardised_does_not_see_the_scale(factor):
    one, other = standardised_cross_entropy(scores(), LABELS), standardised_cross_entropy(scores(factor), LABELS)
    assert torch.allclose(one, other)


def test_gradients_survive_where_those_of_cross_entropy_do_not():
    large = scores(1e4).float().requires_grad_(True)
    labels = large.argmax(1)
    (plain,) = torch.autograd.grad(F.cross_entropy(large, labels, reduction="sum"), large)
    (ours,) = torch.autograd.grad(standardised_cross_entropy(large, labels).sum(), large)
    assert (plain == 0).all()
    assert (ours != 0).any(1).all()


def test_equal_scores_do_not_divide_by_zero():
    assert standardised_cross_entropy(torch.ones(1, 4), torch.tensor([2])).isfinite().all()


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("inf"), float("nan")])
def test_a_temperature_is_above_zero(temperature):
    with pytest.raises(InputError, match="a temperature is a number above 0"):
        tempered_cross_entropy(temperature)
