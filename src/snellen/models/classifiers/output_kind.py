"""Look at some outputs of a model and tell what they are: logits, probabilities, their logarithms, or labels."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from snellen.core.errors import ModelError

#: What a model returns. Probabilities are turned into log-probabilities before a method sees them.
OutputKind = Literal["logits", "log-probabilities", "probabilities", "labels"]

#: How far a sum of probabilities may be from 1; 16-bit outputs are rounded more coarsely than that.
TOLERANCE, TOLERANCE_16_BIT = 1e-4, 2e-3


def output_kind(outputs: Tensor, *, name: str = "the model") -> OutputKind:
    """Tell what a model returns from its outputs for a few images: (n, k, ...) scores, or integers (n,) or (n, 1).

    Rows that are non-negative and sum to 1 are probabilities; rows whose exponentials sum to 1 are log-probabilities;
    all else is logits. A single column is logits: it has no sum that could tell.

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
    rows = outputs.detach().double()
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
