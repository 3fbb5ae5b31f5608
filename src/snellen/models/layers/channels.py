"""Channels of an activation: as rows of samples, and under a linear map.

Channels lie along dim 1 of maps (n, c, h, w) and of vectors (n, c), and along the last dim of tokens (n, t, c).
"""

from __future__ import annotations

from torch import Tensor

from snellen.core.errors import InputError


def channel_dim(ndim: int) -> int:
    """Where the channels of an activation lie, from the number of its dims.

    Raises:
        InputError: neither vectors, tokens nor maps.
    """
    if ndim not in (2, 3, 4):
        raise InputError(f"an activation is vectors (n, c), tokens (n, t, c) or maps (n, c, h, w); got {ndim} dims")
    return 2 if ndim == 3 else 1


def channel_rows(activations: Tensor) -> Tensor:
    """One row of channels for each image and place: (n, c) → (n, c), (n, t, c) → (n·t, c), (n, c, h, w) → (n·h·w, c).

    >>> import torch
    >>> channel_rows(torch.zeros(2, 5, 3, 3)).shape
    torch.Size([18, 5])
    """
    return activations.movedim(channel_dim(activations.ndim), -1).flatten(0, -2)


def apply_to_channels(activations: Tensor, matrix: Tensor) -> Tensor:
    """Multiply the channels at every place, as rows: (n, c, ...) and a matrix (c, k) → (n, k, ...).

    >>> import torch
    >>> apply_to_channels(torch.ones(1, 2, 1, 1), torch.tensor([[1.0, 0.0, 2.0], [1.0, 1.0, 0.0]])).flatten().tolist()
    [2.0, 1.0, 2.0]

    Raises:
        InputError: another number of channels than the matrix has rows.
    """
    dim = channel_dim(activations.ndim)
    if matrix.ndim != 2 or activations.shape[dim] != matrix.shape[0]:
        raise InputError(
            f"a map of channels {tuple(matrix.shape)} for an activation {tuple(activations.shape)} with "
            f"{activations.shape[dim]} channels"
        )
    return (activations.movedim(dim, -1) @ matrix.to(activations)).movedim(-1, dim)
