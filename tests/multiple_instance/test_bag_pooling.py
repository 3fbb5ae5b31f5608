"""Pooling of ragged bags against plain loops, and the loss of a bag."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from snellen.errors import InputError
from snellen.multiple_instance.bag_pooling import POOLINGS, SHARPNESS, Pooling, bag_cross_entropy, pooled

OF_BAG = torch.tensor([2, 0, 1, 0, 2, 2, 0])
LOGITS = torch.randn(7, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("how", POOLINGS)
def test_each_pooling_is_its_formula(how: Pooling) -> None:
    probabilities = LOGITS.softmax(1)[:, 1]
    for bag, found in enumerate(pooled(probabilities, OF_BAG, 3, how).tolist()):
        members = probabilities[bag == OF_BAG].tolist()
        expected = {
            "mean": sum(members) / len(members),
            "max": max(members),
            "log_sum_exp": math.log(sum(math.exp(SHARPNESS * p) for p in members) / len(members)) / SHARPNESS,
        }[how]
        assert found == pytest.approx(expected, abs=1e-12)
        assert min(members) - 1e-12 <= found <= max(members) + 1e-12


@pytest.mark.parametrize("how", POOLINGS)
def test_an_empty_bag_is_refused(how: Pooling) -> None:
    with pytest.raises(InputError, match="bag 1 of 3 has no instances"):
        pooled(torch.rand(2), torch.tensor([0, 2]), 3, how)


@pytest.mark.covers("36.11")
def test_the_loss_of_a_bag_is_that_of_a_probability_of_two_classes() -> None:
    labels = torch.tensor([1, 0, 1])
    means = pooled(LOGITS.softmax(1)[:, 1], OF_BAG, 3, "mean")
    torch.testing.assert_close(
        bag_cross_entropy(LOGITS, OF_BAG, labels), F.binary_cross_entropy(means, labels.double(), reduction="none")
    )
    torch.testing.assert_close(
        bag_cross_entropy(LOGITS, OF_BAG, 1 - labels),
        F.binary_cross_entropy(1 - means, labels.double(), reduction="none"),
    )


@pytest.mark.covers("36.11")
def test_a_bag_that_is_surely_wrong_has_a_finite_loss_and_gradient() -> None:
    logits = torch.tensor([[300.0, -300.0], [200.0, -200.0]], requires_grad=True)
    loss = bag_cross_entropy(logits, torch.tensor([0, 0]), torch.tensor([1]))
    assert 390 < float(loss.detach()) < 410
    loss.sum().backward()
    assert logits.grad is not None
    assert bool(torch.isfinite(logits.grad).all())
    assert float(logits.grad[1, 1]) < 0
