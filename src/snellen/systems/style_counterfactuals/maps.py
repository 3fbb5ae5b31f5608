"""Maps of a frozen network at several scales: which layers give them, and what they give for a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from snellen.core.errors import InputError
from snellen.core.layer_hooks import find_layer

Result = TypeVar("Result")

#: Maps of a feature pyramid, L1 to L4.
LEVELS = 4


def read_maps(
    network: nn.Module, layers: Sequence[str], run: Callable[[], Result], whose: str = "the network"
) -> tuple[Result, list[Tensor]]:
    """Run something, and keep what some layers gave on the way. Differentiable; hooks are removed also after an error.

    >>> net = nn.Sequential(nn.Conv2d(3, 2, 3, stride=2), nn.ReLU())
    >>> _, (first,) = read_maps(net, ["0"], lambda: net(torch.rand(1, 3, 9, 9)))
    >>> first.shape
    torch.Size([1, 2, 4, 4])

    Args:
        network: whose layers are named.
        layers: names, as ``named_modules`` gives them.
        run: runs the network once.
        whose: name of the network, for messages.

    Returns:
        What ``run`` returned, and the output of each layer, (n, c, h, w).
    """
    caught: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            if isinstance(output, Tensor):
                caught[name] = output.clone()  # a copy, which no later layer changes in place

        return hook

    handles = [find_layer(network, name, whose).register_forward_hook(keep(name)) for name in layers]
    try:
        result = run()
    finally:
        for handle in handles:
            handle.remove()
    absent = [name for name in layers if name not in caught]
    if absent:
        raise InputError(f"layers {', '.join(absent)} of {whose} gave no tensor; name layers that give maps")
    return result, [caught[name] for name in layers]


def map_layers(network: nn.Module, run: Callable[[], object]) -> list[str]:
    """Layers that give a map, one for each size of map, the largest first.

    Of each size it is the last outermost one to run, such as the last block of a stage. Maps of a single place are left
    out.

    Args:
        network: any network.
        run: runs it once.
    """
    last: dict[tuple[int, int], str] = {}

    def keep(name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            if isinstance(output, Tensor) and output.ndim == 4 and min(output.shape[2:]) > 1:
                size = (int(output.shape[2]), int(output.shape[3]))
                # The first layer of a stage may still work at the size before it, inside of that stage.
                if size not in last or name.count(".") <= last[size].count("."):
                    last[size] = name

        return hook

    handles = [module.register_forward_hook(keep(name)) for name, module in network.named_modules() if name]
    try:
        with torch.no_grad():
            run()
    finally:
        for handle in handles:
            handle.remove()
    return [last[size] for size in sorted(last, reverse=True)]


def pyramid_layers(network: nn.Module, run: Callable[[], object], whose: str) -> list[str]:
    """The layers of the four smallest sizes of map, L1 to L4; strides 4, 8, 16 and 32 in a ResNet.

    Raises:
        InputError: fewer than four sizes.
    """
    found = map_layers(network, run)
    if len(found) < LEVELS:
        raise InputError(
            f"{whose} gives maps of {len(found)} sizes, and a feature pyramid takes {LEVELS}; give a backbone that "
            f"halves its maps more often, larger images, or an encoder of one scale (--encoder single)"
        )
    return found[-LEVELS:]
