"""Adapters and layer edits in the sampler: a strength for each sample, and a gate that opens at some timesteps only.

The sampler enters these around each network call and says whose row is whose, so that a call with several rows for a
sample (prompt and negative prompt) is served like one with a single row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from snellen.core.errors import InputError
from snellen.models.diffusion.adapters import Adapters
from snellen.models.diffusion.step_view import NetworkCall, StepContext
from snellen.models.layers.layer_edits import Change, edited


@dataclass(frozen=True)
class TimeGate:
    """The timesteps at which something acts; high is noise, 0 is the image.

    >>> last_three_quarters = TimeGate(at_most=750)
    >>> last_three_quarters.is_open(751), last_three_quarters.is_open(750)
    (False, True)
    >>> expert = TimeGate(at_least=200, below=400)
    >>> expert.is_open(200), expert.is_open(400)
    (True, False)
    """

    at_least: float = -math.inf
    at_most: float = math.inf
    below: float = math.inf

    def __post_init__(self) -> None:
        if not self.at_least <= self.at_most or not self.at_least < self.below:
            raise InputError(f"no timestep passes this gate: {self}")

    def is_open(self, timestep: float) -> bool:
        """Whether the gate is open at a timestep."""
        return self.at_least <= timestep <= self.at_most and timestep < self.below


@dataclass(frozen=True, eq=False)
class StepAdapters:
    """Adapters of a denoiser's network, with a strength for each sample, at the timesteps at which a gate is open.

    Where the gate is closed, or all strengths are 0, the call is that of the un-adapted network, bit for bit.

    Args:
        adapters: those of the network of the denoiser that is meant; calls of other denoisers are left alone.
        strengths: for each adapter a number, or (n,), one for each sample of the batch.
        gate: when they act; always by default.
    """

    adapters: Adapters
    strengths: Mapping[str, float | Tensor]
    gate: TimeGate = TimeGate()

    @contextmanager
    def active(self, call: NetworkCall) -> Iterator[None]:
        """Put the adapters in force for one call; see :class:`snellen.models.diffusion.step_view.StepContext`."""
        if call.denoiser.network is not self.adapters.network:
            yield
            return
        is_open = self.gate.is_open(call.timestep)
        rows = {name: by_rows(strength, call) if is_open else 0.0 for name, strength in self.strengths.items()}
        with self.adapters.on(rows):
            yield


@dataclass(frozen=True, eq=False)
class StepEdit:
    """An edit of layers of a denoiser's network, made anew for each call.

    Args:
        network: the network of the denoiser that is meant; calls of other denoisers are left alone.
        patterns: names or patterns of its layers.
        change: the change for a call, or None for none. Values for each sample become values for each row by
            :func:`by_rows`.
        where: ``output``, ``input``, or the name of an argument; see :func:`snellen.models.layers.layer_edits.edited`.
    """

    network: nn.Module
    patterns: str | Sequence[str]
    change: Callable[[NetworkCall], Change | None]
    where: str = "output"

    @contextmanager
    def active(self, call: NetworkCall) -> Iterator[None]:
        """Put the edit in force for one call; see :class:`snellen.models.diffusion.step_view.StepContext`."""
        change = self.change(call) if call.denoiser.network is self.network else None
        if change is None:
            yield
            return
        with edited(self.network, self.patterns, change, where=self.where):
            yield


@dataclass(frozen=True, eq=False)
class Together:
    """Several contexts as one, entered in their order.

    Args:
        contexts: adapters, edits and the like.
    """

    contexts: Sequence[StepContext]

    @contextmanager
    def active(self, call: NetworkCall) -> Iterator[None]:
        """Put all of them in force for one call."""
        with ExitStack() as stack:
            for context in self.contexts:
                stack.enter_context(context.active(call))
            yield


def by_rows(values: float | Tensor, call: NetworkCall) -> float | Tensor:
    """Values for each sample (n,) as values for each row of a call, on its device; a number stays a number.

    Raises:
        InputError: values of another number than the samples.
    """
    values = values if isinstance(values, Tensor) else torch.tensor(float(values))
    if not values.ndim:
        return float(values)
    if values.shape != (call.count,):
        raise InputError(f"one value for each of the {call.count} samples of the batch, got {tuple(values.shape)}")
    return values.to(call.samples.device)[call.samples]
