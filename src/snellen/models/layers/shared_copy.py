"""A copy of a module that shares its weights, so that the caller's own module stays as it is."""

from __future__ import annotations

import copy

from torch import nn

from snellen.core.errors import ModelError


def shared_copy(module: nn.Module, name: str) -> nn.Module:
    """A copy with the same parameters and buffers in memory, frozen and in evaluation mode.

    Mode, ``requires_grad`` and device of the original do not change when the copy does. Weights are not copied: when
    the original is trained on, the copy has the new weights, too.

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
    shared: dict[int, object] = {
        id(parameter): nn.Parameter(parameter.detach(), requires_grad=False) for parameter in module.parameters()
    }
    shared |= {id(buffer): buffer.detach() for buffer in module.buffers()}
    try:
        made = copy.deepcopy(module, shared)
    except Exception as error:
        raise ModelError(
            f"{name} holds something that cannot be copied ({type(error).__name__}: {error}); give a callable instead, "
            f"lambda images: model(images), which only returns scores"
        ) from error
    return made.eval()
