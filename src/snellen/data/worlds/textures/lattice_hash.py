"""Random values at the points of lattices: functions of a seed, a stream and whole numbers, and of nothing else."""

from __future__ import annotations

import torch
from torch import Tensor

from snellen.data.worlds.optotypes.lattice_noise import mixed, stream_key, unit


def stream_state(seeds: Tensor, stream: str) -> Tensor:
    """State of one stream, int32 (n,), of seeds int64 (n,).

    Both halves of a seed are mixed after the stream, so that two seeds which happen to agree in one stream differ in
    the others.
    """
    key = mixed((seeds & 0xFFFFFFFF).to(torch.int32) ^ stream_key(stream))
    return mixed(key ^ (seeds >> 32).to(torch.int32))


def lattice_state(state: Tensor, *numbers: Tensor) -> Tensor:
    """Mix whole numbers into a state, one after the other; shapes broadcast, and the result is int32."""
    for number in numbers:
        state = mixed(state ^ number.to(torch.int32))
    return state


def lattice_values(state: Tensor, *numbers: Tensor) -> Tensor:
    """Values in [0, 1), float32, for whole numbers under a state.

    >>> state = stream_state(torch.tensor([7]), "grain")
    >>> rows, columns = torch.arange(2)[:, None], torch.arange(3)[None]
    >>> lattice_values(state, rows, columns).shape
    torch.Size([2, 3])
    """
    return unit(lattice_state(state, *numbers))


def seed_values(seeds: Tensor, stream: str, count: int) -> Tensor:
    """``count`` values in [0, 1) for each seed: float32 (n, count), of seeds int64 (n,).

    >>> both = seed_values(torch.tensor([1, 2]), "phase", 3)
    >>> torch.equal(both[1:], seed_values(torch.tensor([2]), "phase", 3))
    True
    """
    return lattice_values(stream_state(seeds, stream)[:, None], torch.arange(count)[None])


def byte_values(state: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Four values in [0, 1), float32 multiples of 1/256, of mixed int32 values."""
    first, second, third, fourth = (((state >> shift) & 255).to(torch.float32) / 256 for shift in (0, 8, 16, 24))
    return first, second, third, fourth
