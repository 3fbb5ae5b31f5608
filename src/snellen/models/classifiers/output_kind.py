"""What the outputs of a model are: logits, probabilities, their logarithms or labels; and wrappers for a classifier."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from snellen.core.errors import ModelError
from snellen.core.in_float64 import in_float64

#: What a model returns. Probabilities are turned into log-probabilities before a method sees them.
OutputKind = Literal["logits", "log-probabilities", "probabilities", "labels"]

#: How far a sum of probabilities may be from 1; 16-bit outputs are rounded more coarsely than that.
TOLERANCE, TOLERANCE_16_BIT = 1e-4, 2e-3


def output_kind(outputs: Tensor, *, name: str = "the model") -> OutputKind:
    """Find out what a model returns from its outputs for a few images: (n, k, ...) scores, or integers (n,) or (n, 1).

    Rows that are non-negative and sum to 1 are probabilities; rows whose exponentials sum to 1 are log-probabilities;
    all else is logits. A single column is logits: it has no sum to test.

    >>> output_kind(torch.tensor([[0.25, 0.75], [1.0, 0.0]]))
    'probabilities'
    >>> output_kind(torch.tensor([[2.0, 0.5], [1.0, -3.0]]))
    'logits'
    >>> output_kind(torch.tensor([3, 0]))
    'labels'

    Raises:
        ModelError: NaN or infinity, or a shape that is neither scores nor labels.
    """
    whole = not (outputs.is_floating_point() or outputs.is_complex())
    if whole and (outputs.ndim == 1 or (outputs.ndim == 2 and outputs.shape[1] == 1)):
        return "labels"
    if outputs.ndim < 2 or outputs.is_complex():
        raise ModelError(
            f"{name} returned {outputs.dtype} {tuple(outputs.shape)} for {len(outputs) if outputs.ndim else 0} images; "
            f"expected scores (n, k), or integer labels (n,)"
        )
    rows = in_float64(outputs.detach())
    if not bool(rows.isfinite().all()):
        bad = "NaN" if bool(rows.isnan().any()) else "infinite"
        raise ModelError(f"{name} gives {bad} outputs for images in [0, 1]; are the weights or the file damaged?")
    if outputs.shape[1] < 2:
        return "logits"
    tolerance = TOLERANCE_16_BIT if outputs.dtype in (torch.float16, torch.bfloat16) else TOLERANCE
    if bool((rows >= 0).all()) and _all_near_one(rows.sum(1), tolerance):
        return "probabilities"
    if _all_near_one(rows.exp().sum(1), tolerance):
        return "log-probabilities"
    return "logits"


def _all_near_one(sums: Tensor, tolerance: float) -> bool:
    return bool(((sums - 1).abs() <= tolerance).all())


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
