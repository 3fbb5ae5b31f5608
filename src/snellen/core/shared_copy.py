"""A copy of a module that shares its weights, so that the caller's own module stays as it is."""

from __future__ import annotations

import copy
from types import FunctionType, MethodType
from typing import Any

from torch import Tensor, nn

from snellen.core.errors import ModelError


def shared_copy(module: nn.Module, name: str) -> nn.Module:
    """A copy with the same parameters and buffers in memory, frozen and in evaluation mode.

    Mode, ``requires_grad`` and device of the original do not change when the copy does. Weights are not copied: when
    the original is trained on, the copy has the new weights, too. Those that were made inside torch.inference_mode()
    are copied.

    >>> from torch import nn
    >>> original = nn.Linear(2, 1).train()
    >>> made = shared_copy(original, "line")
    >>> made.training, original.training, made.weight.requires_grad, original.weight.requires_grad
    (False, True, False, True)
    >>> made.weight.data_ptr() == original.weight.data_ptr()
    True

    Raises:
        ModelError: the module holds something that cannot be copied.
    """
    # What a module keeps of its last call may belong to a graph of gradients, which cannot be copied.
    kept = [value for layer in module.modules() for value in vars(layer).values() if isinstance(value, Tensor)]
    shared: dict[int, object] = {id(value): value.detach().clone() for value in kept}
    shared |= {id(buffer): _usable(buffer) for buffer in module.buffers()}
    shared |= {
        id(parameter): nn.Parameter(_usable(parameter), requires_grad=False) for parameter in module.parameters()
    }
    try:
        made = copy.deepcopy(module, shared)
    except Exception as error:
        raise ModelError(
            f"{name} holds something that cannot be copied ({type(error).__name__}: {error}); give a callable instead, "
            f"lambda images: model(images), which only returns scores"
        ) from error
    return made.eval()


def _usable(weight: Tensor) -> Tensor:
    """The same memory; a copy of what was made in torch's inference mode, through which no gradient passes."""
    return weight.detach().clone() if weight.is_inference() else weight.detach()


def is_touched(module: nn.Module) -> bool:
    """Whether a layer carries a hook, or a function in the place of its own: loaded again, it would not."""
    return any(
        layer._forward_hooks
        or layer._forward_pre_hooks
        or layer._backward_hooks
        or layer._backward_pre_hooks
        or "forward" in vars(layer)
        for layer in module.modules()
    )


def is_tied(module: nn.Module) -> bool:
    """Whether a copy might still call the original, or lack what is attached to it.

    Layers may carry hooks, or functions as attributes that reach for the layers of the original.

    >>> def attach(layer, other):
    ...     layer.body = lambda images: other(images)
    >>> plain, tied = nn.Linear(2, 1), nn.Linear(2, 1)
    >>> attach(tied, plain)
    >>> is_tied(plain), is_tied(tied)
    (False, True)
    """
    return is_touched(module) or any(
        _reaches_out(value) for layer in module.modules() for value in vars(layer).values()
    )


def queried_by(module: nn.Module) -> tuple[Any, ...]:
    """Classifiers that layers query: they decide, too, and are in no state dict, and all copies share them.

    >>> queried_by(nn.Linear(2, 1))
    ()
    """
    return tuple(layer.queried for layer in module.modules() if hasattr(layer, "queried"))


def _reaches_out(value: object) -> bool:
    if isinstance(value, MethodType):
        return isinstance(value.__self__, nn.Module)
    return isinstance(value, FunctionType) and value.__closure__ is not None
