"""Layers of a network by name, and hooks that show that a network is not as its weights say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from snellen.core.errors import unknown_name


class EditHook:
    """A forward hook that changes what a layer gives or takes; a network that carries one counts as edited."""

    def __init__(self, hook: Callable[[nn.Module, Any, Any], Any]) -> None:
        self.hook = hook

    def __call__(self, layer: nn.Module, inputs: object, output: object) -> object:
        """Call the hook as torch calls it."""
        return self.hook(layer, inputs, output)


def is_edited(network: nn.Module) -> bool:
    """Whether an :class:`EditHook` is attached to any layer of a network."""
    attached = ((*layer._forward_hooks.values(), *layer._forward_pre_hooks.values()) for layer in network.modules())
    return any(isinstance(hook, EditHook) for hooks in attached for hook in hooks)


def find_layer(network: nn.Module, name: str, owner: str) -> nn.Module:
    """Return the layer with this full name; UnknownNameError, with near names, when ``owner`` has none."""
    layers: dict[str, nn.Module] = {known: layer for known, layer in network.named_modules() if known}
    if name not in layers:
        raise unknown_name(f"layer of {owner}", name, layers)
    return layers[name]
