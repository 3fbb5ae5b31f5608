"""Devices, precision and processes, through accelerate."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from snellen.core.errors import InputError, import_extra
from snellen.training.plan import MixedPrecision

if TYPE_CHECKING:
    from accelerate import Accelerator


def start_accelerator(mixed_precision: MixedPrecision) -> Accelerator:
    """Take the device and the processes that accelerate finds (a launcher's, or the one at hand).

    Raises:
        MissingExtraError: accelerate is not installed.
        InputError: fp16 without a GPU, which accelerate would silently replace by full precision.
    """
    accelerate = import_extra("accelerate", "train", "training")
    utilities = import_extra("accelerate.utils", "train", "training")
    shared = import_extra("accelerate.state", "train", "training").AcceleratorState
    # accelerate keeps the precision of the first training of a process; a later one may choose another.
    if shared._shared_state and shared().mixed_precision != mixed_precision:
        shared._reset_state()
    accelerator: Accelerator = accelerate.Accelerator(
        mixed_precision=mixed_precision,
        # Set explicitly, because accelerate would otherwise divide the loss by a figure of the environment.
        gradient_accumulation_plugin=utilities.GradientAccumulationPlugin(num_steps=1),
    )
    if mixed_precision == "fp16" and accelerator.device.type == "cpu":
        raise InputError("mixed_precision='fp16' needs a GPU, and training runs on the CPU; choose 'bf16' or 'no'")
    return accelerator


def check_one_process(what: str) -> None:
    """Refuse to go on where a launcher started several processes.

    Args:
        what: cannot be spread over them, for the message.

    Raises:
        InputError: the launcher's ``WORLD_SIZE`` is above 1.
    """
    processes = os.environ.get("WORLD_SIZE", "1")
    if processes != "1":
        raise InputError(f"{what} runs in one process, and {processes} were started; start it without a launcher")


def part_of_process(positions: Tensor, process: int, processes: int) -> Tensor:
    """Positions that one of several processes works on; empty when there are fewer positions than processes.

    >>> [part_of_process(torch.arange(5), process, 2).tolist() for process in range(2)]
    [[0, 2, 4], [1, 3]]
    """
    return positions[process::processes]


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's own generators inside a ``with`` block (dropout, torchvision); they are put back on leaving.

    >>> with seeded(1, torch.device("cpu")):
    ...     first = torch.rand(2)
    >>> with seeded(1, torch.device("cpu")):
    ...     torch.equal(first, torch.rand(2))
    True
    """
    metal = torch.mps.get_rng_state() if device.type == "mps" else None
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        try:
            yield
        finally:
            if metal is not None:
                torch.mps.set_rng_state(metal)
