"""A network that is being trained, lent to an attack for a moment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def lent(model: nn.Module) -> Iterator[nn.Module]:
    """The model in evaluation mode; afterwards every part has its mode again, and parameters want gradients as before.

    Inside, a :class:`~snellen.core.classifier.Classifier` may be made of it, which freezes what it is made of.

    >>> model = nn.Dropout().train()
    >>> with lent(model):
    ...     model.training
    False
    >>> model.training
    True
    """
    modes = {part: part.training for part in model.modules()}
    wanted = {parameter: parameter.requires_grad for parameter in model.parameters()}
    try:
        yield model.eval()
    finally:
        for part, training in modes.items():
            part.training = training
        for parameter, requires in wanted.items():
            parameter.requires_grad_(requires)
