"""Exponential moving average of weights, with a warm-up."""

from __future__ import annotations

from itertools import chain

import torch
from torch import nn


def warmed_decay(decay: float, update: int) -> float:
    """Decay of the ``update``-th update (from 1): min(decay, (1 + t) / (10 + t)), so early weights are soon forgotten.

    >>> [round(warmed_decay(0.999, update), 3) for update in (1, 10, 100, 100_000)]
    [0.182, 0.55, 0.918, 0.999]
    """
    return min(decay, (1 + update) / (10 + update))


@torch.no_grad()
def average_into(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Move ``average``, a copy of ``model``, towards it in place: a ← decay · a + (1 − decay) · m.

    Buffers of floating point (the running statistics of BatchNorm) are averaged too; counters are copied. Tied
    parameters move once.
    """
    kept = chain(average.parameters(), average.buffers())
    current = chain(model.parameters(), model.buffers())
    for old, new in zip(kept, current, strict=True):
        if old.is_floating_point():
            old.lerp_(new.to(old.dtype), 1 - decay)
        else:
            old.copy_(new)
