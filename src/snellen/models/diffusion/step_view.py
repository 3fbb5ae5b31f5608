"""One step of the sampler: what guidance sees of it, and what an adapter gets for each call of the network.

The sampler makes several predictions in one network call (the prompt's, the negative prompt's), so a call has more rows
than there are samples. An adapter whose strength differs between samples needs to know which row is whose.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.models.diffusion.condition import Condition
from snellen.models.diffusion.denoiser import Denoiser, Prediction, convert, convert_difference, to_x0
from snellen.models.diffusion.generator import Generator


@dataclass(frozen=True)
class NetworkCall:
    """One call of a network, before it is made.

    Args:
        denoiser: whose network is called: the generator's own, or that of a reference (a weaker model).
        timestep: of all rows, on the scale of the training schedule: high is noise, 0 is the image.
        samples: int64 (rows,), on the device of the latents: for each row of the call the position of its sample in
            the batch. A sample may occur several times, once for each condition, or not at all.
        count: number of samples in the batch; all entries of ``samples`` are below it.
    """

    denoiser: Denoiser
    timestep: float
    samples: Tensor
    count: int


class StepContext(Protocol):
    """Something that is in force around network calls: adapters with a multiplier for each sample, gated by time."""

    def active(self, call: NetworkCall) -> AbstractContextManager[None]:
        """A context in which the call is made; what it changes, it puts back at the end, on errors too.

        It is entered for calls of *every* denoiser: one that is not concerned gets an empty context.
        """
        ...


@dataclass(frozen=True, eq=False)
class Branch:
    """A prediction that is wanted.

    Args:
        condition: one row for each sample of the batch, also where only some rows are wanted.
        denoiser: another than the generator's own.
        rows: positions of the samples, int64 on the CPU, without repetition; None for all.
    """

    condition: Condition
    denoiser: Denoiser | None = None
    rows: Tensor | None = None


@dataclass(eq=False)
class Calls:
    """What the network calls of one run share: their context, their number, and the last joined condition."""

    context: StepContext | None = None
    calls: int = 0
    rows: int = 0
    joined: tuple[tuple[Condition, ...], Condition] | None = None
    compatible: set[Denoiser] = field(default_factory=set)

    def join(self, conditions: Sequence[Condition]) -> Condition:
        """Conditions one after the other; for the same ones again, the same object."""
        if len(conditions) == 1:
            return conditions[0]
        if self.joined is None or self.joined[0] != tuple(conditions):
            self.joined = tuple(conditions), Condition.concatenate(conditions)
        return self.joined[1]


@dataclass(eq=False)
class _Kept:
    """Predictions for one condition and denoiser: for all rows, or those of ``known``."""

    values: Tensor
    known: Tensor | None  # bool (n,); None: all


class StepView:
    """What a guidance term may use in one step. Predictions are remembered: the second request costs no call.

    Args:
        generator: whose denoiser is meant when none is named.
        condition: of the batch.
        latents: of the network's scale, float32 (n, c, h, w).
        index: number of the step.
        timestep: on the scale of the training schedule.
        level: alpha and sigma of the latents.
        timesteps: for a number of rows, their timesteps as the network takes them.
        ids: of the samples.
        calls: what the calls of the run share.
    """

    def __init__(
        self,
        generator: Generator,
        condition: Condition,
        latents: Tensor,
        *,
        index: int,
        timestep: float,
        level: tuple[float, float],
        timesteps: Callable[[int], Tensor],
        ids: tuple[str, ...],
        calls: Calls,
    ) -> None:
        self.generator = generator
        self.condition = condition
        self.latents = latents
        self.index = index
        self.timestep = timestep
        self.alpha, self.sigma = level
        self.ids = ids
        self._timesteps = timesteps
        self._calls = calls
        self._kept: dict[tuple[Denoiser, Condition], _Kept] = {}
        self._everyone: Tensor | None = None

    def __len__(self) -> int:
        return len(self.latents)

    @property
    def kind(self) -> Prediction:
        """What the generator's own denoiser predicts; all predictions and directions here are of this kind."""
        return self.generator.denoiser.prediction

    @property
    def prediction(self) -> Tensor:
        """The prediction for the batch's own condition, (n, c, h, w)."""
        return self.predict(self.condition)

    def predict(self, condition: Condition, denoiser: Denoiser | None = None, rows: Tensor | None = None) -> Tensor:
        """The prediction for a condition, of the generator's kind: (n, c, h, w), or (rows, c, h, w).

        Rows that were predicted before are not predicted again. Another denoiser's prediction is converted.
        """
        self.prepare([Branch(condition, denoiser, rows)])
        kept = self._kept[denoiser or self.generator.denoiser, condition]
        return kept.values if rows is None else kept.values[rows.to(kept.values.device)]

    def prepare(self, branches: Iterable[Branch]) -> None:
        """Make predictions that will be needed, in one call for each denoiser."""
        missing: dict[Denoiser, dict[Condition, Tensor | None]] = {}
        for branch in branches:
            denoiser = branch.denoiser or self.generator.denoiser
            rows = self._missing(denoiser, branch)
            if rows is not None and not len(rows):
                continue
            wanted = missing.setdefault(denoiser, {})
            if branch.condition in wanted:
                before = wanted[branch.condition]
                rows = None if rows is None or before is None else torch.cat([before, rows]).unique()
            wanted[branch.condition] = rows
        for denoiser, conditions in missing.items():
            self._predict(denoiser, conditions)

    def evaluate(self, latents: Tensor, condition: Condition | None = None, denoiser: Denoiser | None = None) -> Tensor:
        """A prediction at *other* latents (n, c, h, w) of this step's level, not remembered; differentiable in them."""
        used = denoiser or self.generator.denoiser
        predicted = self._call(used, latents, condition or self.condition, self._samples(None))
        return convert(predicted, used.prediction, self.kind, latents, self.alpha, self.sigma)

    def x0(self, prediction: Tensor | None = None, latents: Tensor | None = None) -> Tensor:
        """The clean latents that a prediction implies; those of the batch's own condition by default."""
        at = self.latents if latents is None else latents
        given = self.prediction if prediction is None else prediction
        return to_x0(given, self.kind, at, self.alpha, self.sigma)

    @functools.cached_property
    def decoded(self) -> Tensor:
        """The images that the batch's own predictions imply, (n, c, h, w) in [0, 1]; decoded once."""
        return self.generator.decode(self.x0())

    def direction(self, difference: Tensor, kind: Prediction) -> Tensor:
        """A change of a prediction of another kind as a change of this generator's kind."""
        return convert_difference(difference, kind, self.kind, self.alpha, self.sigma)

    def _missing(self, denoiser: Denoiser, branch: Branch) -> Tensor | None:
        """Rows that were not predicted yet; None for all."""
        if len(branch.condition) != len(self):
            raise InputError(f"a condition of {len(branch.condition)} rows came for {len(self)} samples")
        kept = self._kept.get((denoiser, branch.condition))
        if kept is None:
            return branch.rows
        if kept.known is None:
            return torch.empty(0, dtype=torch.int64)
        rows = torch.arange(len(self)) if branch.rows is None else branch.rows
        return rows[~kept.known[rows]]

    def _predict(self, denoiser: Denoiser, conditions: dict[Condition, Tensor | None]) -> None:
        every = list(conditions.items())
        samples = (
            torch.cat([self._samples(rows) for _, rows in every]) if len(every) > 1 else self._samples(every[0][1])
        )
        whole = len(every) == 1 and every[0][1] is None
        latents = self.latents if whole else self.latents[samples]
        condition = self._calls.join([given if rows is None else given.select(rows) for given, rows in every])
        predicted = self._call(denoiser, latents, condition, samples)
        predicted = convert(predicted, denoiser.prediction, self.kind, latents, self.alpha, self.sigma)
        sizes = [len(self) if rows is None else len(rows) for _, rows in every]
        for (given, rows), values in zip(every, predicted.split(sizes), strict=True):
            self._keep(denoiser, given, rows, values)

    def _keep(self, denoiser: Denoiser, condition: Condition, rows: Tensor | None, values: Tensor) -> None:
        key = denoiser, condition
        if rows is None:
            self._kept[key] = _Kept(values, None)
            return
        if key not in self._kept:
            self._kept[key] = _Kept(torch.zeros_like(self.latents), torch.zeros(len(self), dtype=torch.bool))
        kept = self._kept[key]
        assert kept.known is not None
        kept.values[rows.to(kept.values.device)] = values
        kept.known[rows] = True
        if bool(kept.known.all()):
            kept.known = None

    def _call(self, denoiser: Denoiser, latents: Tensor, condition: Condition, samples: Tensor) -> Tensor:
        own = self.generator.denoiser
        if denoiser is not own and denoiser not in self._calls.compatible:
            _check_compatible(own, denoiser)
            self._calls.compatible.add(denoiser)
        self._calls.calls += 1
        self._calls.rows += len(latents)
        context = self._calls.context
        entered: AbstractContextManager[None] = nullcontext()
        if context is not None:
            entered = context.active(NetworkCall(denoiser, self.timestep, samples, len(self)))
        with entered:
            return denoiser(latents, self._timesteps(len(latents)), condition)

    def _samples(self, rows: Tensor | None) -> Tensor:
        if rows is not None:
            return rows.to(self.latents.device)
        if self._everyone is None:
            self._everyone = torch.arange(len(self), device=self.latents.device)
        return self._everyone


def _check_compatible(own: Denoiser, other: Denoiser) -> None:
    if other.channels != own.channels:
        raise InputError(f"a denoiser of {other.channels} channels cannot guide one of {own.channels}")
    if not torch.equal(other.alphas_cumprod, own.alphas_cumprod):
        raise InputError("a denoiser can guide only one that was trained with the same noise schedule")
