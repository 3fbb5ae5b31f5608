"""The loss of a bag against the cross-entropy of a mean probability."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from snellen.systems.multiple_instance.bag_loss import bag_cross_entropy, published_bag_loss

OF_BAG = torch.tensor([2, 0, 1, 0, 2, 2, 0])
LOGITS = torch.randn(7, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.covers("36.11")
def test_the_loss_of_a_bag_is_that_of_a_probability_of_two_classes() -> None:
    labels = torch.tensor([1, 0, 1])
    positive = LOGITS.softmax(1)[:, 1]
    means = torch.stack([positive[bag == OF_BAG].mean() for bag in range(3)])
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


@pytest.mark.covers("36.13")
def test_the_published_loss_takes_two_entries_of_the_mean_vector_for_scores() -> None:
    hidden, labels = torch.rand(7, 5, generator=torch.Generator().manual_seed(2)), torch.tensor([1, 0, 1])
    found = published_bag_loss(hidden, OF_BAG, labels)
    for bag, label in enumerate(labels.tolist()):
        once = hidden[bag == OF_BAG].mean(0).exp()
        twice = (once / once.sum()).exp()
        assert float(found[bag]) == pytest.approx(-float((twice[label] / twice.sum()).log()))
