"""Objectives against hand computation."""

import pytest
import torch
import torch.nn.functional as F

from snellen.errors import InputError
from snellen.perturbation.objectives import cross_entropy, difference_of_logits_ratio, negative_margin

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
