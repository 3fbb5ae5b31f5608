"""A classifier of fully connected layers, for small grey images."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


class Perceptron(nn.Module):
    """ReLU layers on the pixels of the channels' mean; 784, 500, 100, 10 by default. It sees no colours.

    >>> import torch
    >>> Perceptron()(torch.rand(2, 3, 28, 28)).shape
    torch.Size([2, 10])

    Args:
        side: height and width of the images, pixels.
        widths: units of the hidden layers.
        class_count: number of classes k.
    """

    def __init__(self, *, side: int = 28, widths: Sequence[int] = (500, 100), class_count: int = 10) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = side * side
        for width in widths:
            layers += [nn.Linear(before, width), nn.ReLU()]
            before = width
        self.hidden = nn.Sequential(*layers)
        self.head = nn.Linear(before, class_count)

    def forward(self, images: Tensor) -> Tensor:
        """Classify prepared images: float (n, 3, side, side) → logits (n, k)."""
        logits: Tensor = self.head(self.hidden(images.mean(1).flatten(1)))
        return logits
