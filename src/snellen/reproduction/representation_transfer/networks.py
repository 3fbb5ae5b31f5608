"""Five small convolutional networks whose stages have equal shapes, and an exact symmetry of one of them."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

#: Channels of what each stage gives, in all networks.
CHANNELS = (16, 24, 32)

#: Layers that are attacked, from the front: pixels, three stages, and the average before the last layer.
STAGES = ("stage1", "stage2", "stage3", "average")


class _Folded(nn.Module):
    """Images (n, 3, h, w) in [0, 1] → (n, 12, h / 2, w / 2) in [−1, 1], so that no layer runs at full resolution."""

    def forward(self, images: Tensor) -> Tensor:
        return F.pixel_unshuffle(images, 2) * 2 - 1


def _stage(channels: int, out_channels: int, stride: int, inner: int, normalised: bool) -> nn.Sequential:
    layers = OrderedDict[str, nn.Module]()
    for number, (before, after, step) in enumerate(((channels, inner, stride), (inner, out_channels, 1)), start=1):
        convolution = nn.Conv2d(before, after, 3, step, 1, bias=not normalised)
        layers[f"convolution{number}"] = convolution
        if not normalised:
            # Without it activations shrink from layer to layer, and training hardly begins (He et al. 2015).
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
        if normalised:
            layers[f"norm{number}"] = nn.BatchNorm2d(after)
        layers[f"relu{number}"] = nn.ReLU()
    return nn.Sequential(layers)


def staged_network(class_count: int, *, wider: int = 1, normalised: bool = True) -> nn.Module:
    """A network of three stages, with initial weights from torch's global generator.

    >>> staged_network(10).eval()(torch.rand(2, 3, 32, 32)).shape
    torch.Size([2, 10])

    Args:
        class_count: number of classes.
        wider: factor of the width inside of the stages; what they give keeps its shape.
        normalised: with BatchNorm.
    """
    layers, before = OrderedDict[str, nn.Module](folded=_Folded()), 12
    for name, channels, stride in zip(STAGES, CHANNELS, (1, 2, 1), strict=False):
        layers[name] = _stage(before, channels, stride, channels * wider, normalised)
        before = channels
    layers["average"] = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    layers["last"] = nn.Linear(before, class_count)
    return nn.Sequential(layers)


#: Name → builder: three seeds of one architecture, one wider, one without BatchNorm.
ZOO: dict[str, Callable[[int], nn.Module]] = {
    "base_1": staged_network,
    "base_2": staged_network,
    "base_3": staged_network,
    "wider": lambda classes: staged_network(classes, wider=2),
    "no_batchnorm": lambda classes: staged_network(classes, normalised=False),
}
SAME_ARCHITECTURE = ("base_1", "base_2", "base_3")


def permuted_stage(
    network: nn.Module, stage: str, next_stage: str, generator: torch.Generator
) -> tuple[nn.Module, Tensor]:
    """The same function in weights of another order and scale: an exact symmetry of networks with ReLU.

    The channels that a stage gives are permuted and multiplied by positive factors from 1/2 to 2; the first
    convolution of the next stage takes that back.

    Args:
        network: of :func:`staged_network`.
        stage: whose channels change.
        next_stage: the stage that reads them.
        generator: of permutation and factors.

    Returns:
        A changed copy, and the matrix (c, c) with new representation = old · matrix in channels.
    """
    changed = copy.deepcopy(network)
    producer, consumer = changed.get_submodule(stage), changed.get_submodule(next_stage)
    convolution, reader = producer.get_submodule("convolution2"), consumer.get_submodule("convolution1")
    assert isinstance(convolution, nn.Conv2d)
    assert isinstance(reader, nn.Conv2d)
    count = convolution.out_channels
    order = torch.randperm(count, generator=generator)
    factors = 2 ** (2 * torch.rand(count, generator=generator) - 1)
    with torch.no_grad():
        convolution.weight.copy_(convolution.weight[order])
        scaled: nn.Module = convolution
        if hasattr(producer, "norm2"):
            scaled = producer.get_submodule("norm2")
            for name in ("running_mean", "running_var"):
                scaled.get_buffer(name).copy_(scaled.get_buffer(name)[order])
            scaled.get_parameter("weight").copy_(scaled.get_parameter("weight")[order] * factors)
        else:
            convolution.weight.mul_(factors.view(-1, 1, 1, 1))
        scaled.get_parameter("bias").copy_(scaled.get_parameter("bias")[order] * factors)
        reader.weight.copy_(reader.weight[:, order] / factors.view(1, -1, 1, 1))
    matrix = torch.zeros(count, count)
    matrix[order, torch.arange(count)] = factors
    return changed, matrix
