"""Models of one channel, fed with the mean of the three that every other part works on."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from snellen.core.classifier import Normalization

#: What is noted of such a model.
NOTE = "the model takes one channel: the mean of the three is fed"


class OneChannel(nn.Module):
    """A module of one channel; its layers are named ``model.…``."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """(n, 3, h, w) → what the model returns for (n, 1, h, w)."""
        outputs: Tensor = self.model(images.mean(1, keepdim=True))
        return outputs


def one_channel(model: nn.Module | Callable[[Tensor], Tensor]) -> nn.Module | Callable[[Tensor], Tensor]:
    """A model of one channel as one of three; a module stays a module."""
    if isinstance(model, nn.Module):
        return OneChannel(model)
    return lambda images: model(images.mean(1, keepdim=True))


def takes_one_channel(model: nn.Module) -> bool:
    """Whether the first convolution of a module has one input channel; of a module without any, False.

    >>> takes_one_channel(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU()))
    True
    """
    first = next((layer for layer in model.modules() if isinstance(layer, nn.Conv2d)), None)
    return first is not None and first.in_channels == 1


def of_one_channel(normalization: Normalization) -> Normalization:
    """The mean and std of a model of one channel: the averages of those that are given for three."""
    mean, std = normalization
    return Normalization((sum(mean) / len(mean),), (sum(std) / len(std),))
