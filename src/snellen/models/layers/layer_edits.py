"""Read and change what the layers of any network give and take, inside a ``with`` block that undoes itself.

One way into networks of every kind: the hidden states of a text encoder, the attention blocks of a denoiser, the units
of a classifier. Layers are named by full names or patterns (``*`` and ``?`` as in file names; ``*`` crosses dots).
Nothing is written into the network: everything happens in forward hooks, so leaving the block, also by an exception,
leaves every weight, buffer and flag as it was. Blocks nest, and may end in any order; edits of the same layer act in
the order in which they were entered.

What to do with a tensor is a change, tensor → tensor of the same shape and type; none works in place. Values for each
sample are (n,): one for each row of the activation. Where a network is called with rows of several guidance branches,
take the values by rows first (``strengths[rows]``).
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatchcase
from typing import Any

import torch
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

    A layer that gives several values (a tuple, a model output) has the first tensor changed and the rest left alone.

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


Change = Callable[[Tensor], Tensor]


def zero_units(units: Sequence[int], *, dim: int = 1) -> Change:
    """Set channels to zero: positions along ``dim`` (1 for maps (n, c, h, w), −1 for tokens (n, t, c)).

    >>> zero_units([1])(torch.ones(1, 3)).tolist()
    [[1.0, 0.0, 1.0]]

    Raises:
        InputError: no unit, a unit given twice; when applied: a unit that the layer does not have.
    """
    if not len(units) or len(set(units)) != len(units) or min(units) < 0:
        raise InputError(f"units are different positions from 0 on, at least one; got {list(units)}")

    def change(tensor: Tensor) -> Tensor:
        _check_dim(tensor, dim)
        if max(units) >= tensor.shape[dim]:
            raise InputError(
                f"unit {max(units)} of a layer with {tensor.shape[dim]} units (0 to {tensor.shape[dim] - 1})"
            )
        return tensor.index_fill(dim, torch.tensor(list(units), device=tensor.device), 0)

    return change


def add_vector(vector: Tensor, *, strength: float | Tensor = 1.0, dim: int = 1) -> Change:
    """Add ``strength`` × a vector (c,) along ``dim``; strength is a number, or (n,), one for each sample.

    >>> add_vector(torch.tensor([1.0, 2.0]), strength=torch.tensor([0.0, 3.0]))(torch.zeros(2, 2)).tolist()
    [[0.0, 0.0], [3.0, 6.0]]

    Raises:
        InputError: when applied: a vector or strengths of another length than the activation.
    """
    if vector.ndim != 1:
        raise InputError(f"the vector has one number for each channel, (c,); got {tuple(vector.shape)}")

    def change(tensor: Tensor) -> Tensor:
        _check_dim(tensor, dim)
        if len(vector) != tensor.shape[dim]:
            raise InputError(f"a vector of {len(vector)} numbers for a layer with {tensor.shape[dim]} channels")
        shape = [1] * tensor.ndim
        shape[dim] = len(vector)
        return tensor + _factor(strength, tensor) * vector.to(tensor).view(shape)

    return change


def scale(factor: float | Tensor) -> Change:
    """Multiply by a number, or by (n,), one for each sample.

    >>> scale(torch.tensor([1.0, 2.0]))(torch.ones(2, 1)).tolist()
    [[1.0], [2.0]]

    Raises:
        InputError: when applied: factors of another number than the samples of the activation.
    """
    return lambda tensor: tensor * _factor(factor, tensor)


def on_samples(chosen: Tensor, change: Change) -> Change:
    """Apply a change to the samples that a mask (n,) chooses; the others stay as they are, bit for bit.

    >>> on_samples(torch.tensor([True, False]), scale(5.0))(torch.ones(2, 1)).tolist()
    [[5.0], [1.0]]

    Raises:
        InputError: a mask that is not bool (n,); when applied: one of another length than the activation.
    """
    _check_mask(chosen, 1)

    def applied(tensor: Tensor) -> Tensor:
        mask = _rows(chosen, tensor)
        return torch.where(mask, change(tensor), tensor) if bool(chosen.any()) else tensor

    return applied


def on_tokens(chosen: Tensor, change: Change) -> Change:
    """Apply a change to the tokens that a mask (n, t) or (t,) chooses, of activations (n, t, ...); others stay.

    >>> on_tokens(torch.tensor([False, True]), scale(5.0))(torch.ones(1, 2, 1)).tolist()
    [[[1.0], [5.0]]]

    Raises:
        InputError: a mask that is not bool (n, t) or (t,); when applied: one of another shape than the activation.
    """
    _check_mask(chosen, 1, 2)

    def applied(tensor: Tensor) -> Tensor:
        mask = chosen if chosen.ndim == 2 else chosen[None]
        if tensor.ndim < 2 or mask.shape[1] != tensor.shape[1] or len(mask) not in (1, len(tensor)):
            raise InputError(f"a mask of tokens {tuple(chosen.shape)} for an activation {tuple(tensor.shape)}")
        mask = mask.to(tensor.device).view(*mask.shape, *[1] * (tensor.ndim - 2))
        return torch.where(mask, change(tensor), tensor)

    return applied


def token_states(positions: Tensor | Sequence[int]) -> Change:
    """Make a reduction for reading: the states at one position for each sample, (n, t, d) → (n, d).

    >>> token_states([1, 0])(torch.arange(4.0).view(2, 2, 1)).tolist()
    [[1.0], [2.0]]

    Raises:
        InputError: when applied: positions of another number than the samples, or beyond the tokens.
    """
    wanted = torch.as_tensor(positions, dtype=torch.int64)

    def pick(tensor: Tensor) -> Tensor:
        if (
            wanted.shape != tensor.shape[:1]
            or tensor.ndim < 2
            or not 0 <= int(wanted.min()) <= int(wanted.max()) < tensor.shape[1]
        ):
            raise InputError(
                f"one position from 0 on for each sample of {tuple(tensor.shape)} (samples, tokens, ...); got "
                f"{wanted.tolist()}"
            )
        return tensor[torch.arange(len(tensor), device=tensor.device), wanted.to(tensor.device)]

    return pick


def _factor(value: float | Tensor, tensor: Tensor) -> float | Tensor:
    """A number, or values (n,) by rows."""
    return _rows(value, tensor) if isinstance(value, Tensor) and value.ndim else float(value)


def _rows(values: Tensor, tensor: Tensor) -> Tensor:
    """Values (n,) in a shape that multiplies an activation (n, ...)."""
    if values.ndim != 1 or len(values) != len(tensor):
        raise InputError(
            f"one value for each of the {len(tensor)} rows of an activation {tuple(tensor.shape)}, got "
            f"{tuple(values.shape)}; where the network is called with several rows a sample, take the values by rows"
        )
    return values.to(tensor.device, None if values.dtype == torch.bool else tensor.dtype).view(
        -1, *[1] * (tensor.ndim - 1)
    )


def _check_dim(tensor: Tensor, dim: int) -> None:
    if not 1 <= dim % tensor.ndim < tensor.ndim or not -tensor.ndim <= dim < tensor.ndim:
        raise InputError(f"channels of an activation {tuple(tensor.shape)} cannot lie along dim {dim}")


def _check_mask(mask: Tensor, *dims: int) -> None:
    if mask.dtype != torch.bool or mask.ndim not in dims:
        shapes = " or ".join({1: "(n,)", 2: "(n, t)"}[count] for count in dims)
        raise InputError(f"the mask is bool {shapes}, got {mask.dtype} {tuple(mask.shape)}")
