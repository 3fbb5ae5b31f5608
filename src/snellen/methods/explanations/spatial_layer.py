"""Which layer of a network gives a map of the image, and how its output is one."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from snellen.core.classifier import Classifier
from snellen.core.errors import UnsupportedError


def last_map_layer(classifier: Classifier, image: Tensor) -> str:
    """Name of the last layer whose output is a map with more than one place, found by one look at one image.

    Layers count in the order in which they are done, so that of nested layers with the same output the outer one is
    named, and a pooling to one place that follows is passed over.

    Args:
        classifier: a torch module.
        image: prepared, (1, 3, h, w) in [0, 1].

    Raises:
        UnsupportedError: no module, or no such layer; name one.
    """
    if classifier.module is None:
        raise UnsupportedError(f"{classifier.name} is not a torch module: its layers cannot be read")
    last, channels_last, tokens = "", False, ""

    def noticing(name: str) -> Callable[[nn.Module, object, object], None]:
        def notice(layer: nn.Module, _inputs: object, output: object) -> None:
            nonlocal last, channels_last, tokens
            if not isinstance(output, Tensor):
                return
            if output.ndim == 4 and output.shape[2] * output.shape[3] > 1:
                last, tokens = name, ""
                channels_last = isinstance(layer, nn.LayerNorm) and output.shape[1] != layer.normalized_shape[-1]
            elif output.ndim == 3:
                tokens = name

        return notice

    handles = [layer.register_forward_hook(noticing(name)) for name, layer in classifier.module.named_modules() if name]
    try:
        with torch.no_grad():
            classifier(image)
    finally:
        for handle in handles:
            handle.remove()
    if not last or tokens or channels_last:
        seen = f"its last layers give tokens ({tokens})" if tokens else "none gives (n, channels, height, width)"
        raise UnsupportedError(
            f"no layer of {classifier.name} can be taken for its last map: {seen}. Name a layer whose output is a map, "
            f"or tokens of a square of patches that the score depends on, such as the norm in front of the last "
            f"attention of a vision transformer"
        )
    return last


def as_map(output: Tensor, layer: str, owner: str) -> Tensor:
    """Output of a layer as a map (n, c, y, x): as it is, or tokens (n, t, d) of a square of patches.

    Tokens before the patches (class token, registers) are left out: t is the largest square that fits and at most eight
    tokens more.

    >>> as_map(torch.zeros(2, 50, 16), "blocks.11", "vit").shape
    torch.Size([2, 16, 7, 7])

    Raises:
        UnsupportedError: another form.
    """
    if output.ndim == 4 and output.shape[2] * output.shape[3] > 1:
        return output
    if output.ndim == 3:
        side = math.isqrt(output.shape[1])
        extra = output.shape[1] - side * side
        if side > 1 and extra <= 8:
            return output[:, extra:].transpose(1, 2).unflatten(2, (side, side))
    raise UnsupportedError(
        f"layer {layer!r} of {owner} gives {tuple(output.shape)}; expected a map (n, channels, height, width) with "
        f"more than one place, or tokens (n, t, d) of a square of patches"
    )
