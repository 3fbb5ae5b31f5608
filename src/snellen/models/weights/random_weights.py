"""Weights of a model drawn by name: the same seed gives the same model, whatever was drawn before."""

from __future__ import annotations

import torch
from torch import nn

from snellen.core.randomness import Randomness


def draw_weights(model: nn.Module, *, seed: int = 0, gain: float = 1.0) -> None:
    """Draw every matrix of a model, in place, with ``gain`` over the square root of its inputs; biases become zero.

    With unit gain signals neither fade nor explode, so that inputs move outputs, which they hardly do with the small
    weights from which a training starts. Embeddings have unit variance. Weights of norms, and scalars, stay as they
    are. Shared tensors are drawn once.

    >>> first, second = nn.Linear(4, 2), nn.Linear(4, 2)
    >>> draw_weights(first), draw_weights(second)
    (None, None)
    >>> torch.equal(first.weight, second.weight)
    True
    """
    rng = Randomness(seed)
    embeddings = {id(layer.weight) for layer in model.modules() if isinstance(layer, nn.Embedding)}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1 and name.endswith("bias"):
                parameter.zero_()
            elif id(parameter) in embeddings or ("embed" in name and parameter.ndim):
                parameter.copy_(torch.randn(parameter.shape, generator=rng.generator(name)))
            elif parameter.ndim > 1:
                scale = gain * parameter[0].numel() ** -0.5
                parameter.copy_(scale * torch.randn(parameter.shape, generator=rng.generator(name)))
