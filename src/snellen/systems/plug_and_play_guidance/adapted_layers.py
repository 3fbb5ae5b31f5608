"""Which parameters of a classifier an expert may change: by the types of its modules, not by names of layers.

Published (H. Go et al. 2023, section 4.2 and the supplement): ResNet: the stem, and the first two convolutions of each
bottleneck; vision transformers: qkv and proj of each attention; dense predictors: the convolutions of encoder and
decoder. Beside these all biases and the affine parameters of BatchNorm; the last layer stays as it is.
"""

from __future__ import annotations

from torch import nn

from snellen.core.errors import InputError
from snellen.models.diffusion.low_rank import adaptable_layers


def last_layer(network: nn.Module) -> str:
    """Name of the layer that gives the scores or the map: the last Linear or Conv2d, in the order of definition.

    Raises:
        InputError: a network without one.
    """
    names = list(adaptable_layers(network))
    if not names:
        raise InputError(f"a {type(network).__name__} has no Linear or Conv2d layer that could be adapted")
    return names[-1]


def adapted_layers(network: nn.Module) -> dict[str, nn.Linear | nn.Conv2d]:
    """The layers that get a low-rank change, by full name, in the order of definition.

    A network with attention, which is a module whose class has "Attention" in its name, is a transformer: the Linear
    layers that lie directly in such a module. Any other: every convolution on the main path. That leaves out grouped
    ones, shortcuts (the only convolution, 1 × 1, of a container inside a block that has convolutions of its own), and
    the one with which a bottleneck widens again. The last layer is left out in both cases.

    >>> block = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 4, 1))
    >>> list(adapted_layers(nn.Sequential(block, nn.Flatten(), nn.Linear(4, 2))))
    ['0.0', '0.3']

    Raises:
        InputError: no layer is left.
    """
    last, modules = last_layer(network), dict(network.named_modules())
    attention = [name for name, module in modules.items() if "Attention" in type(module).__name__]
    found: dict[str, nn.Linear | nn.Conv2d] = {}
    for name, layer in adaptable_layers(network).items():
        parent = name.rpartition(".")[0]
        if name == last:
            continue
        if attention:
            wanted = isinstance(layer, nn.Linear) and parent in attention
        else:
            wanted = isinstance(layer, nn.Conv2d) and _on_the_main_path(layer, parent, modules)
        if wanted:
            assert isinstance(layer, nn.Linear | nn.Conv2d)
            found[name] = layer
    if not found:
        raise InputError(
            f"no layer of the {type(network).__name__} can be adapted: it has neither ungrouped convolutions nor "
            f"Linear layers in modules of attention"
        )
    return found


def free_parameters(network: nn.Module) -> list[str]:
    """Full names of the parameters that an expert has for itself: biases, and weights of BatchNorm; not the last layer.

    >>> free_parameters(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2)))
    ['0.bias', '1.weight', '1.bias']
    """
    last = last_layer(network)
    return [
        f"{name}.{kind}" if name else kind
        for name, module in network.named_modules()
        for kind, _ in module.named_parameters(recurse=False)
        if name != last and (kind.endswith("bias") or _is_batch_norm(module))
    ]


def own_statistics(network: nn.Module) -> list[str]:
    """Full names of the running statistics, which follow the noise that an expert sees: buffers of BatchNorm."""
    return [
        f"{name}.{kind}" if name else kind
        for name, module in network.named_modules()
        if _is_batch_norm(module)
        for kind, _ in module.named_buffers(recurse=False)
    ]


def _is_batch_norm(module: nn.Module) -> bool:
    return isinstance(module, nn.modules.batchnorm._NormBase)


def _on_the_main_path(layer: nn.Conv2d, parent: str, modules: dict[str, nn.Module]) -> bool:
    if layer.groups > 1:
        return False
    widens = "Bottleneck" in type(modules[parent]).__name__ and layer is _convolutions(modules[parent])[-1]
    return not widens and not (parent and _is_shortcut(modules[parent], modules[parent.rpartition(".")[0]]))


def _is_shortcut(container: nn.Module, block: nn.Module) -> bool:
    """Whether a container is the shortcut of a block; stages behind a stem are on the main path, as is a sequence."""
    inside = [module for module in container.modules() if isinstance(module, nn.Conv2d)]
    alone = len(inside) == 1 and inside[0].kernel_size == (1, 1)
    beside = not isinstance(block, nn.Sequential) and bool(_convolutions(block))
    return isinstance(container, nn.Sequential) and alone and beside


def _convolutions(block: nn.Module) -> list[nn.Module]:
    """Convolutions that are children of a block themselves."""
    return [child for child in block.children() if isinstance(child, nn.Conv2d)]
