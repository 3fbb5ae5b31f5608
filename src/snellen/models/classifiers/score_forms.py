"""Wrap a model so that it returns what a classifier needs: log-probabilities for probabilities, one-hot for labels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from snellen.core.errors import ModelError


def log_of_probabilities(probabilities: Tensor) -> Tensor:
    """Natural logarithm in float32, with zero taken as the smallest normal float32 (about 1.2e-38): (n, k) → (n, k).

    >>> log_of_probabilities(torch.tensor([[1.0, 0.0]])).tolist()
    [[0.0, -87.33654...]]
    """
    return probabilities.float().clamp_min(torch.finfo(torch.float32).tiny).log()


class LogProbabilities(nn.Module):
    """A module that returns probabilities, made to return their logarithms; its layers are named ``model.…``."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """(n, 3, h, w) → log-probabilities (n, k)."""
        return log_of_probabilities(self.model(images))


def log_probabilities(model: nn.Module | Callable[[Tensor], Tensor]) -> nn.Module | Callable[[Tensor], Tensor]:
    """Make a model that returns probabilities return their logarithms; a module stays a module."""
    if isinstance(model, nn.Module):
        return LogProbabilities(model)
    return lambda images: log_of_probabilities(model(images))


def one_hot_of_labels(labels: Tensor, classes: int, *, name: str = "the model") -> Tensor:
    """Integer labels (n,) or (n, 1) → float32 scores (n, classes), 1 for the label and 0 elsewhere.

    >>> one_hot_of_labels(torch.tensor([1]), 3).tolist()
    [[0.0, 1.0, 0.0]]

    Raises:
        ModelError: a label that has no class name.
    """
    flat = labels.reshape(len(labels)).long()
    low, high = int(flat.min()), int(flat.max())
    if low < 0 or high >= classes:
        raise ModelError(
            f"{name} returned label {low if low < 0 else high}, but {classes} class names are known (labels 0 to "
            f"{classes - 1}); pass the right list with --classes FILE (one name a line) or class_names=[...]"
        )
    return nn.functional.one_hot(flat, classes).float()


def one_hot(
    model: nn.Module | Callable[[Tensor], Tensor], classes: int, *, name: str = "the model"
) -> Callable[[Tensor], Tensor]:
    """Make a model that returns labels return one-hot scores; scores (n, k > 1) pass unchanged."""

    def scores(images: Tensor) -> Tensor:
        outputs = model(images)
        is_scores = outputs.ndim == 2 and outputs.shape[1] > 1
        return outputs.float() if is_scores else one_hot_of_labels(outputs, classes, name=name)

    return scores
