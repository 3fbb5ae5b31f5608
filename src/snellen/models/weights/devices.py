"""Where a model runs: check a device's name before anything is moved to it."""

from __future__ import annotations

import torch

from snellen.core.errors import InputError


def resolve_device(device: str | torch.device) -> torch.device:
    """Turn ``cpu``, ``cuda``, ``cuda:1`` or ``mps`` into a device that exists on this machine.

    >>> resolve_device("cpu")
    device(type='cpu')

    Raises:
        InputError: no such kind of device, or this machine has none.
    """
    try:
        resolved = torch.device(device)
    except RuntimeError as error:
        raise InputError(f"unknown device {device!r}; expected cpu, cuda, cuda:N or mps") from error
    if resolved.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if not count:
            raise InputError(f"device {device!r}: this machine has no CUDA device that torch can use; use cpu")
        if (resolved.index or 0) >= count:
            raise InputError(f"device {device!r}: this machine has {count} CUDA devices, numbered from 0")
    elif resolved.type == "mps":
        if not torch.backends.mps.is_available():
            raise InputError(f"device {device!r}: this machine has no Metal device that torch can use; use cpu")
    elif resolved.type != "cpu":
        raise InputError(f"unknown device {device!r}; expected cpu, cuda, cuda:N or mps")
    return resolved
