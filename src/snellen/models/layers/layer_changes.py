"""What to do with an activation: zero units, add a vector, scale, and keep a change to some samples or tokens.

Each function makes a change, tensor → tensor of the same shape and type, for
:func:`snellen.models.layers.layer_edits.edited`. No change works in place. Values for each sample are (n,): one for
each row of the activation. Where a network is called with rows of several guidance branches, take the values by rows
first (``strengths[rows]``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from snellen.core.errors import InputError

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
