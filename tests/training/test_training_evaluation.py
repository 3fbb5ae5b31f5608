from __future__ import annotations

import pytest
import torch
from torch import nn

from snellen.core.errors import ModelError
from snellen.training import ImageStore, accuracy, score_examples


class Brightness(nn.Module):
    """Class 1 when the image is bright; scores are ±1."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        bright = (images.mean((1, 2, 3)) > 0.5).float()
        return torch.stack([-bright, bright], 1)


def make_store(values: list[int], targets: torch.Tensor, weights: list[float] | None = None) -> ImageStore:
    images = torch.tensor(values, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 2, 2)
    return ImageStore.of_tensors(images, targets, weights=torch.tensor(weights) if weights else None)


def test_accuracy_is_the_weighted_share_of_right_decisions() -> None:
    targets = torch.tensor([0, 1, 0])  # the third is wrong
    assert accuracy(Brightness(), make_store([0, 255, 255], targets))["accuracy"] == pytest.approx(2 / 3)
    weighted = accuracy(Brightness(), make_store([0, 255, 255], targets, [1.0, 1.0, 2.0]))
    assert weighted["accuracy"] == pytest.approx(0.5)
    soft = accuracy(Brightness(), make_store([0, 255, 255], torch.eye(2)[targets]))
    assert soft["accuracy"] == pytest.approx(2 / 3)


def test_loss_is_the_mean_cross_entropy() -> None:
    store = make_store([0, 255], torch.tensor([0, 0]))
    scores, targets = score_examples(Brightness(), store)
    assert accuracy(Brightness(), store)["loss"] == pytest.approx(
        float(nn.functional.cross_entropy(scores, targets)), abs=1e-6
    )


def test_scores_come_in_order_whatever_the_batch(toy: ImageStore, linear: nn.Module) -> None:
    whole, targets = score_examples(linear, toy)
    parts, _ = score_examples(linear, toy, batch_size=7)
    assert torch.allclose(whole, parts, atol=1e-5)
    assert torch.equal(targets, toy.targets)


def test_scores_that_are_not_finite_are_refused(toy: ImageStore, linear: nn.Module) -> None:
    with torch.no_grad():
        linear[1].bias.fill_(float("nan"))
    with pytest.raises(ModelError, match="not finite"):
        accuracy(linear, toy)
