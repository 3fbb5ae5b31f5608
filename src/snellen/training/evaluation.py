"""Figures on the tune split, by which the best epoch is chosen."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from snellen.core.errors import ModelError
from snellen.core.preparation import to_unit
from snellen.training.batches import Examples
from snellen.training.objectives import cross_entropy

#: (model in evaluation mode, tune examples) → named figures.
Evaluate = Callable[[nn.Module, Examples], Mapping[str, float]]


@torch.no_grad()
def score_examples(model: nn.Module, examples: Examples, *, batch_size: int = 500) -> tuple[Tensor, Tensor]:
    """Scores (n, k) and targets of all examples, in their order, on the CPU."""
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    scores, all_targets = [], []
    for positions in torch.arange(len(examples.ids)).split(batch_size):
        images, targets = examples.read(positions)
        images = images.to(device)
        scores.append(model(to_unit(images) if images.dtype == torch.uint8 else images).float().cpu())
        all_targets.append(targets)
    return torch.cat(scores), torch.cat(all_targets)


def accuracy(model: nn.Module, examples: Examples) -> Mapping[str, float]:
    """Weighted share of right decisions, and mean cross-entropy in nats. Of soft targets, the largest counts.

    Raises:
        ModelError: scores that are not finite.
    """
    scores, targets = score_examples(model, examples)
    if not bool(torch.isfinite(scores).all()):
        raise ModelError("the model gives scores that are not finite")
    weights = examples.weights.double() / examples.weights.double().sum()
    right = scores.argmax(1) == (targets.argmax(1) if targets.ndim == 2 else targets)
    return {
        "accuracy": float((weights * right).sum()),
        "loss": float((weights * cross_entropy(scores, targets).double()).sum()),
    }
