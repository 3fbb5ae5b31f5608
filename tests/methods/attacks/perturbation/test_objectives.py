"""Objectives against hand computation."""

import pytest
import torch
import torch.nn.functional as F

from snellen.core.errors import InputError
from snellen.methods.attacks.perturbation.objectives import (
    cross_entropy,
    difference_of_logits_ratio,
    negative_margin,
    targeted_difference_of_logits_ratio,
    targeted_margin,
)

SCORES = torch.tensor([[2.0, 1.0, -1.0, 0.0], [0.0, 3.0, 1.0, 2.0]])
LABELS = torch.tensor([0, 2])


def test_cross_entropy_per_image():
    assert torch.allclose(cross_entropy(SCORES, LABELS), -F.log_softmax(SCORES, 1)[[0, 1], LABELS])


def test_cross_entropy_multilabel_sums_binary_terms():
    labels = torch.tensor([[1, 0, 0, 1], [0, 1, 1, 0]])
    p = SCORES.sigmoid()
    expected = -(labels * p.log() + (1 - labels) * (1 - p).log()).sum(1)
    assert torch.allclose(cross_entropy(SCORES, labels), expected, atol=1e-5)


def test_margin_and_ratio_by_hand():
    assert negative_margin(SCORES, LABELS).tolist() == [-1.0, 2.0]
    # Croce and Hein (2020), eq. 4: −(z_y − max_{i≠y} z_i) / (z_π1 − z_π3).
    assert torch.allclose(difference_of_logits_ratio(SCORES, LABELS), torch.tensor([-1 / 2, 2 / 2]))


def test_ratio_refuses_two_classes():
    with pytest.raises(InputError, match=r"needs k >= 3 classes; got k = 2"):
        difference_of_logits_ratio(SCORES[:, :2], torch.tensor([0, 1]))
    assert difference_of_logits_ratio(SCORES[:, :3], LABELS).isfinite().all()


def test_ratio_is_invariant_to_scale_and_shift_where_cross_entropy_saturates():
    huge = SCORES * 1e4 + 7
    assert torch.allclose(
        difference_of_logits_ratio(huge, LABELS), difference_of_logits_ratio(SCORES, LABELS), rtol=1e-4
    )
    scores = (SCORES * 1e4).requires_grad_(True)
    (saturated,) = torch.autograd.grad(cross_entropy(scores, torch.tensor([0, 1])).sum(), scores)
    assert not saturated.any(), "the gradient of cross-entropy is exactly zero here"
    (alive,) = torch.autograd.grad(negative_margin(scores, torch.tensor([0, 1])).sum(), scores)
    assert alive.any(1).all()


def test_targeted_ratio_by_hand():
    targets = torch.tensor([3, 0])
    assert targeted_margin(SCORES, LABELS, targets).tolist() == [-2.0, -1.0]
    # −(z_y − z_t) / (z_π1 − (z_π3 + z_π4) / 2): scores 2, 1, 0, −1 and 3, 2, 1, 0 in order.
    expected = torch.tensor([-2 / 2.5, -1 / 2.5])
    assert torch.allclose(targeted_difference_of_logits_ratio(SCORES, LABELS, targets), expected)


def test_targeted_ratio_is_invariant_to_scale_and_shift():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(50, 7, generator=generator, dtype=torch.float64)
    labels, targets = scores.argmax(1), scores.argmin(1)
    for objective, others in (
        (targeted_difference_of_logits_ratio, (labels, targets)),
        (difference_of_logits_ratio, (labels,)),
    ):
        plain = objective(scores, *others)
        assert torch.allclose(objective(1e4 * scores - 17, *others), plain)
        assert torch.allclose(objective(1e-4 * scores + 3, *others), plain, rtol=1e-5)


def test_targeted_ratio_refuses_three_classes():
    with pytest.raises(InputError, match=r"needs k >= 4 classes; got k = 3\. Use targeted_margin"):
        targeted_difference_of_logits_ratio(SCORES[:, :3], LABELS, torch.tensor([1, 0]))
