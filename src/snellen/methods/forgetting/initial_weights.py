"""Layers of a network in the order in which they run, and their weights drawn anew."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from snellen.core.errors import UnsupportedError
from snellen.core.randomness import Randomness
from snellen.training.acceleration import seeded


def weighted_layers(network: nn.Module, images: Tensor) -> list[tuple[str, nn.Module]]:
    """Modules with parameters of their own, with their names, in the order in which they first run.

    Args:
        network: prepared images → scores.
        images: to run it with, (n, 3, h, w).
    """
    order: dict[nn.Module, None] = {}
    names = {module: name for name, module in network.named_modules() if list(module.parameters(recurse=False))}
    handles = [one.register_forward_pre_hook(lambda layer, _: order.setdefault(layer)) for one in names]
    mode = network.training
    try:
        with torch.no_grad():
            network.eval()(images)
    finally:
        network.train(mode)
        for handle in handles:
            handle.remove()
    return [(names[module], module) for module in order]


def last_layers(network: nn.Module, images: Tensor, count: int) -> list[tuple[str, nn.Module]]:
    """The last layers with a matrix of weights, and what has parameters behind the first of these.

    Raises:
        UnsupportedError: the network has fewer layers.
    """
    layers = weighted_layers(network, images)
    matrices = [place for place, (_, one) in enumerate(layers) if _has_matrix(one)]
    if len(matrices) <= count:
        raise UnsupportedError(
            f"the network has {len(matrices)} layers with weights, and k = {count} would be all of them or more; "
            f"give a smaller k, or retrain"
        )
    return layers[matrices[-count] :]


def redraw(modules: Iterable[nn.Module], rng: Randomness) -> None:
    """Draw the parameters of modules anew, in place, as their classes do when they are built; statistics are reset.

    Raises:
        UnsupportedError: a module that cannot draw its parameters, such as one with free parameters or a converted
            graph.
    """
    own = [one for one in modules if any(True for _ in (*one.parameters(False), *one.buffers(False)))]
    stuck = sorted({type(one).__name__ for one in own if any(True for _ in one.parameters(False)) and not _drawn(one)})
    if stuck:
        raise UnsupportedError(
            f"initial weights cannot be drawn again for {', '.join(stuck)}: these modules have no reset_parameters; "
            f"retrain with the program that trained the classifier, and compare the two with snellen evaluate"
        )
    device = next((one.device for module in own for one in module.parameters(recurse=False)), torch.device("cpu"))
    with seeded(rng.generator("initial weights").initial_seed(), device):
        for one in own:
            if (draw := _drawn(one)) is not None:
                draw()


def _drawn(module: nn.Module) -> Callable[[], None] | None:
    found: Callable[[], None] | None = getattr(module, "reset_parameters", None) or getattr(
        module, "_reset_parameters", None
    )
    return found


def _has_matrix(module: nn.Module) -> bool:
    return any(one.ndim >= 2 for one in module.parameters(recurse=False))
