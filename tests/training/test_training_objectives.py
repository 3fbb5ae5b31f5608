from __future__ import annotations

import pytest
import torch
from torch import nn

from snellen.core.errors import InputError, ModelError
from snellen.core.randomness import Randomness
from snellen.training import Batch, classify, cross_entropy, on_scores
from snellen.training.objectives import check_losses, label_cross_entropy

SCORES = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, -2.0]])


def make_batch(count: int = 2) -> Batch:
    return Batch(
        images=torch.rand(count, 3, 2, 2),
        targets=torch.zeros(count, dtype=torch.int64),
        weights=torch.ones(count),
        positions=torch.arange(count),
        rng=Randomness(0).for_examples([f"image-{i}" for i in range(count)]),
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_one_hot_targets_equal_class_indices(smoothing: float) -> None:
    labels = torch.tensor([2, 1])
    hard = cross_entropy(SCORES, labels, label_smoothing=smoothing)
    soft = cross_entropy(SCORES, torch.eye(3)[labels], label_smoothing=smoothing)
    assert torch.allclose(hard, soft, atol=1e-6)


def test_label_smoothing_is_the_formula() -> None:
    labels = torch.tensor([2, 1])
    smoothed = torch.eye(3)[labels] * 0.8 + 0.2 / 3
    expected = -(smoothed * SCORES.log_softmax(1)).sum(1)
    assert torch.allclose(cross_entropy(SCORES, labels, label_smoothing=0.2), expected, atol=1e-6)


def test_losses_are_not_averaged() -> None:
    labels = torch.tensor([0, 0])
    both = cross_entropy(SCORES, labels)
    assert both.shape == (2,)
    assert torch.allclose(both[1:], cross_entropy(SCORES[1:], labels[1:]))


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (torch.zeros(3, dtype=torch.int64), r"\(2, 3\) and \(3,\)"),
        (torch.rand(2, 4), r"soft targets are probabilities, float \(2, 3\)"),
        (torch.ones(2, 3, dtype=torch.int64), "soft targets are probabilities"),
    ],
)
def test_wrong_targets_are_refused(targets: torch.Tensor, message: str) -> None:
    with pytest.raises(InputError, match=message):
        cross_entropy(SCORES, targets)


def test_losses_of_several_labels_are_the_formula_averaged_over_the_labels() -> None:
    targets = torch.tensor([[1, 0, 1], [0, 0, 1]], dtype=torch.uint8)
    share = SCORES.double().sigmoid()
    by_hand = -(targets * share.log() + (1 - targets) * (1 - share).log()).mean(1)
    losses = label_cross_entropy(SCORES, targets)
    assert losses.shape == (2,)
    assert torch.allclose(losses.double(), by_hand, atol=1e-6)
    assert torch.allclose(label_cross_entropy(SCORES[1:], targets[1:]), losses[1:], atol=1e-7), "no mean over examples"
    doubt = torch.full((1, 3), 0.25)
    soft = -(0.25 * share[:1].log() + 0.75 * (1 - share[:1]).log()).mean(1)
    assert torch.allclose(label_cross_entropy(SCORES[:1], doubt).double(), soft, atol=1e-6)
    assert float(label_cross_entropy(torch.tensor([[1000.0]]), torch.zeros(1, 1))) == 1000.0, "large scores stay finite"


@pytest.mark.parametrize("targets", [torch.zeros(2), torch.zeros(2, 4), torch.zeros(1, 3)])
def test_label_targets_of_another_shape_are_refused(targets: torch.Tensor) -> None:
    with pytest.raises(InputError, match=r"label_cross_entropy takes scores and targets \(n, l\); got \(2, 3\) and"):
        label_cross_entropy(SCORES, targets)
    with pytest.raises(InputError, match="label_cross_entropy"):
        label_cross_entropy(torch.zeros(2), torch.zeros(2))


def test_classify_is_cross_entropy_on_scores() -> None:
    model, batch = nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), make_batch()
    assert torch.equal(classify(model, batch), on_scores(cross_entropy)(model, batch))


@pytest.mark.parametrize("losses", [torch.tensor(1.0), torch.ones(3), torch.ones(2, 1)])
def test_losses_of_another_shape_are_refused(losses: torch.Tensor) -> None:
    with pytest.raises(InputError, match=r"one loss for each, \(2,\): use reduction='none'"):
        check_losses(losses, make_batch(), where="epoch 1, step 1")


def test_losses_that_are_not_finite_are_refused_by_name() -> None:
    losses = torch.tensor([0.0, float("nan"), float("inf"), 1.0])
    with pytest.raises(ModelError, match=r"^epoch 2, step 9: .* 2 of 4 examples \(image-1, image-2\)"):
        check_losses(losses, make_batch(4), where="epoch 2, step 9")
