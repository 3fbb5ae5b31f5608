"""Read and change what the layers of any network give and take, inside a ``with`` block that undoes itself.

One way into networks of every kind: the hidden states of a text encoder, the attention blocks of a denoiser, the units
of a classifier. Layers are named by full names or patterns (``*`` and ``?`` as in file names; ``*`` crosses dots).
Nothing is written into the network: everything happens in forward hooks, so leaving the block, also by an exception,
leaves every weight, buffer and flag as it was. Blocks nest, and may end in any order; edits of the same layer act in
the order in which they were entered. What to do with a tensor is in :mod:`snellen.models.layers.layer_changes`.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor, nn

from snellen.core.errors import InputError, ModelError, UnsupportedError, unknown_name
from snellen.core.layer_hooks import EditHook, find_layer


def find_layers(network: nn.Module, patterns: str | Sequence[str]) -> dict[str, nn.Module]:
    """Layers whose full names match, in the network's own order.

    >>> network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))
    >>> list(find_layers(network, ["0", "2"])), list(find_layers(network, "?"))
    (['0', '2'], ['0', '1', '2'])

    Raises:
        UnknownNameError: a pattern that matches no layer; the message lists near names.
        InputError: no pattern.
    """
    wanted = _listed(patterns)
    if not wanted:
        raise InputError("name at least one layer, or a pattern such as '*.attn1'; got none")
    layers = {name: layer for name, layer in network.named_modules() if name}
    for pattern in wanted:
        if not any(fnmatchcase(name, pattern) for name in layers):
            find_layer(network, pattern, f"the {type(network).__name__}")
    return {name: layer for name, layer in layers.items() if any(fnmatchcase(name, pattern) for pattern in wanted)}


@contextmanager
def reading(
    network: nn.Module,
    patterns: str | Sequence[str],
    *,
    reduce: Callable[[Tensor], Tensor] | None = None,
    where: str = "output",
) -> Iterator[dict[str, list[Tensor]]]:
    """Collect activations inside a ``with`` block: layer name → one tensor for each call of the layer.

    What is collected belongs to the reader: a later layer that works in place does not change it, and a small part of a
    large activation does not keep the large one in memory. Gradients flow through it; under ``torch.no_grad`` no graph
    is kept. Edits that were entered before are seen, later ones are not.

    >>> import torch
    >>> network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True))
    >>> with reading(network, "0", reduce=lambda maps: maps.amax((2, 3))) as activations:
    ...     scores = network(torch.rand(5, 3, 8, 8))
    >>> [maxima.shape for maxima in activations["0"]]
    [torch.Size([5, 4])]

    Args:
        network: any module.
        patterns: names or patterns of layers.
        reduce: what to keep of an activation; all of it by default.
        where: ``output``; ``input``, the first argument of the layer's ``forward``; or the name of an argument.

    Raises:
        UnknownNameError: a pattern that matches no layer; an argument that a layer does not have.
        UnsupportedError: a layer that gives or takes no tensor there.
    """
    layers = find_layers(network, patterns)
    collected: dict[str, list[Tensor]] = {name: [] for name in layers}

    def collect(name: str, tensor: Tensor) -> Tensor:
        part = tensor if reduce is None else reduce(tensor)
        shared = part.untyped_storage().data_ptr() == tensor.untyped_storage().data_ptr()
        collected[name].append(part.clone() if shared else part)
        return tensor

    with ExitStack() as stack:
        for name, layer in layers.items():
            stack.enter_context(_attached(name, layer, collect, where, edits=False))
        yield collected


@contextmanager
def edited(
    network: nn.Module,
    patterns: str | Sequence[str],
    change: Callable[[Tensor], Tensor],
    *,
    where: str = "output",
    layers: Mapping[str, nn.Module] | None = None,
) -> Iterator[None]:
    """Replace what layers give by ``change`` of it, inside a ``with`` block.

    A layer that gives several things (a tuple, a model output) has the first tensor changed and the rest left alone.

    >>> import torch
    >>> network = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2, bias=False))
    >>> with edited(network, "0", torch.zeros_like):
    ...     network(torch.rand(5, 4)).count_nonzero()
    tensor(0)

    Args:
        network: any module.
        patterns: names or patterns of layers.
        change: tensor → tensor of the same shape and type. Not in place: other layers may read the same tensor.
        where: ``output``; ``input``, the first argument of the layer's ``forward``; or the name of an argument.
        layers: the layers of these patterns, as :func:`find_layers` gives them, where a block is entered many times.

    Raises:
        UnknownNameError: a pattern that matches no layer; an argument that a layer does not have.
        ModelError: a change that gives another shape or type.
        UnsupportedError: a layer that gives or takes no tensor there; or, on leaving, the network ran and no layer of a
            pattern was called, so that nothing was changed (fused layers read weights of parts that they never call).
    """
    found = find_layers(network, patterns) if layers is None else layers
    called: set[str] = set()
    ran: list[bool] = []

    def replace(name: str, tensor: Tensor) -> Tensor:
        called.add(name)
        changed = change(tensor)
        if changed.shape != tensor.shape or changed.dtype != tensor.dtype:
            raise ModelError(
                f"the edit of layer {name!r} gives {changed.dtype} {tuple(changed.shape)} for {tensor.dtype} "
                f"{tuple(tensor.shape)}; an edit keeps shape and type"
            )
        return changed

    with ExitStack() as stack:
        stack.callback(network.register_forward_pre_hook(lambda _network, _inputs: ran.append(True)).remove)
        for name, layer in found.items():
            stack.enter_context(_attached(name, layer, replace, where, edits=True))
        yield
    for pattern in _listed(patterns):
        if ran and not any(fnmatchcase(name, pattern) for name in called):
            raise UnsupportedError(
                f"the network ran, but its layer {pattern!r} was never called, so the edit changed nothing; name a "
                f"layer that is called in this mode, such as the one around it"
            )


def _listed(patterns: str | Sequence[str]) -> list[str]:
    return [patterns] if isinstance(patterns, str) else list(patterns)


@contextmanager
def _attached(
    name: str, layer: nn.Module, act: Callable[[str, Tensor], Tensor], where: str, *, edits: bool
) -> Iterator[None]:
    """Call ``act`` with the layer's name and its tensor, and put in what it returns, as long as the block lasts."""

    def on_output(_layer: nn.Module, _inputs: object, output: object) -> object:
        place, tensor = _first_tensor(name, output)
        changed = act(name, tensor)
        return None if changed is tensor else _with_tensor(output, place, changed)

    if where == "output":
        handle = layer.register_forward_hook(EditHook(on_output) if edits else on_output)
    else:
        position, argument = _parameter(name, layer, where)

        def on_input(_layer: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> Any:  # noqa: ANN401
            by_name = argument in named
            tensor = named[argument] if by_name else inputs[position] if position < len(inputs) else None
            if not isinstance(tensor, Tensor):
                raise UnsupportedError(f"layer {name!r} was called without a tensor for its argument {argument!r}")
            changed = act(name, tensor)
            if changed is tensor:
                return None
            if by_name:
                return inputs, {**named, argument: changed}
            return (*inputs[:position], changed, *inputs[position + 1 :]), named

        hook: Any = EditHook(on_input) if edits else on_input
        handle = layer.register_forward_pre_hook(hook, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _first_tensor(name: str, output: object) -> tuple[int | str | None, Tensor]:
    """Place and value of the first tensor of an output: place None for the output itself."""
    if isinstance(output, Tensor):
        return None, output
    places: list[tuple[Any, object]] = []
    if isinstance(output, Mapping):
        places = list(output.items())
    elif isinstance(output, tuple | list):
        places = list(enumerate(output))
    for place, value in places:
        if isinstance(value, Tensor):
            return place, value
    raise UnsupportedError(f"layer {name!r} gives a {type(output).__name__} that holds no tensor")


def _with_tensor(output: Any, place: int | str | None, tensor: Tensor) -> object:  # noqa: ANN401 - outputs of any layer
    """Return an output of the same kind with the tensor at ``place`` replaced."""
    if place is None:
        return tensor
    if isinstance(output, Mapping):
        return (
            dataclasses.replace(output, **{place: tensor})
            if dataclasses.is_dataclass(output)
            else {**output, place: tensor}
        )
    values = [tensor if index == place else value for index, value in enumerate(output)]
    return type(output)(*values) if hasattr(output, "_fields") else type(output)(values)


def _parameter(name: str, layer: nn.Module, where: str) -> tuple[int, str]:
    """Position and name of an argument of a layer's forward."""
    known = list(inspect.signature(layer.forward).parameters)
    if where == "input" and known:
        return 0, known[0]
    if where not in known:
        raise unknown_name(f"argument of layer {name!r}", where, [*known, "input", "output"])
    return known.index(where), where
