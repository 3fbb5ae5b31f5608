"""The sampler: one batched loop from noise to images, for every generator, solver and kind of guidance.

Draws belong to samples: every number is a function of (seed, sample, step), so a batch gives what its samples give
alone, up to the order of sums. A state can be kept and continued several times (:meth:`SamplingState.select` repeats
samples), so a prefix that several settings share is computed once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from snellen.core.errors import InputError, ModelError
from snellen.core.randomness import Randomness
from snellen.models.diffusion.condition import Condition
from snellen.models.diffusion.denoiser import to_x0
from snellen.models.diffusion.generator import Generator
from snellen.models.diffusion.guidance import GuidanceTerm, guide
from snellen.models.diffusion.solver import Solver, SolverName
from snellen.models.diffusion.step_view import Calls, StepContext, StepView


@dataclass(frozen=True, eq=False)
class Moment:
    """Where the sampler stands when a hook is called.

    Args:
        index: number of the step, from 0 (noise) up.
        steps: number of steps.
        timestep: of the latents, on the scale of the training schedule; −1 for the finished image.
        latents: of the network's scale, float32 (n, c, h, w): alpha x0 + sigma eps.
        alpha, sigma: level of the latents.
        ids: of the samples.
        first: this is the first step of the call of ``run``.
        x0: after a step, the estimate of the clean latents from which it was made; None before it.
    """

    index: int
    steps: int
    timestep: float
    latents: Tensor
    alpha: float
    sigma: float
    ids: tuple[str, ...]
    first: bool
    x0: Tensor | None = None


class LatentHook:
    """Sees every step; a subclass overrides what it needs. Several hooks of a run are called in their order."""

    def before(self, moment: Moment) -> Tensor | None:
        """Called before the network; returns other latents, or None to leave them."""

    def after(self, moment: Moment) -> Tensor | None:
        """Called after a step, with the latents and the level of the *next* one; returns other latents, or None."""


@dataclass(frozen=True, eq=False)
class SamplingState:
    """A run that can be continued, several times and with different settings: nothing changes it.

    Args:
        stored: latents of the solver's scale, float32 (n, c, h, w); see :attr:`latents`.
        index: number of the next step.
        solver: with the memory of earlier steps.
        rng: bound to the samples.
        calls: calls of networks so far.
        rows: rows of these calls.
    """

    stored: Tensor
    index: int
    solver: Solver
    rng: Randomness
    calls: int = 0
    rows: int = 0

    def __len__(self) -> int:
        return len(self.stored)

    @property
    def latents(self) -> Tensor:
        """Latents of the network's scale, alpha x0 + sigma eps with alpha² + sigma² = 1; at the end the image's."""
        return self.solver.copy().external(self.stored, self.index)

    @property
    def finished(self) -> bool:
        """Whether no step is left."""
        return self.index == self.solver.steps

    def with_latents(self, latents: Tensor) -> SamplingState:
        """The same state with other latents (n, c, h, w), of the network's scale.

        Raises:
            InputError: latents of another shape.
        """
        if latents.shape != self.stored.shape:
            raise InputError(f"latents of shape {tuple(latents.shape)} cannot replace {tuple(self.stored.shape)}")
        return replace(self, stored=self.solver.internal(latents.to(self.stored), self.index))

    def select(self, rows: Sequence[int] | Tensor) -> SamplingState:
        """The state of some samples, in this order; ``[0, 0, 0, 1, 1, 1]`` forks two samples into three each.

        A repeated sample keeps its draws: its copies get the same noise in every step.
        """
        chosen = torch.as_tensor(rows, dtype=torch.int64)
        return replace(
            self,
            stored=self.stored[chosen.to(self.stored.device)],
            solver=self.solver.select(chosen),
            rng=self.rng[chosen],
        )


def seeded(seeds: Sequence[int]) -> Randomness:
    """Randomness for samples that differ by their seeds alone: the same seed gives the same noise.

    >>> seeded([3, 5]).ids
    ('3', '5')
    """
    return Randomness(0).for_examples([str(seed) for seed in seeds])


@dataclass(frozen=True)
class Sampler:
    """How a generator is sampled from.

    Args:
        generator: the model.
        steps: number of steps.
        solver: which scheduler makes them.
        eta: noise that DDIM adds, from 0 (none) to 1 (as much as DDPM).
        settings: settings of the scheduler to change, by their names in diffusers.

    Raises:
        InputError: settings that cannot be used.
    """

    generator: Generator
    steps: int = 50
    solver: SolverName = "ddim"
    eta: float = 0.0
    settings: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.new_solver()

    def new_solver(self) -> Solver:
        """A solver before its first step."""
        return Solver(self.generator, self.solver, self.steps, self.eta, self.settings)

    def start(
        self, rng: Randomness, *, size: tuple[int, int] | None = None, noise: Tensor | None = None
    ) -> SamplingState:
        """A run before its first step, from noise.

        Args:
            rng: bound to the samples, or :func:`seeded`.
            size: height and width of the images; None is the generator's own.
            noise: standard normal noise (n, c, h, w) instead of drawn noise.

        Raises:
            InputError: a size that the generator cannot make, noise of the wrong shape.
        """
        if rng.ids is None:
            raise InputError(
                "sampling needs randomness that is bound to samples: seeded(seeds), or rng.for_examples(ids)"
            )
        shape = self.generator.latent_shape(size)
        if noise is None:
            noise = initial_noise(rng, shape, self.generator)
        solver = self.new_solver()
        solver.begin(0)
        return SamplingState(solver.from_noise(self._checked(noise, rng, shape, size)), 0, solver, rng)

    def start_from(self, latents: Tensor, rng: Randomness, *, strength: float) -> SamplingState:
        """A run that begins with images, noised: image to image.

        Args:
            latents: of clean images, (n, c, h, w): see :meth:`Generator.encode`.
            rng: bound to the samples.
            strength: share of the steps that are made, in (0, 1]; 1 leaves next to nothing of the images.

        Raises:
            InputError: a strength that leaves no step, latents of the wrong shape.
        """
        made = min(int(self.steps * strength), self.steps) if 0 < strength <= 1 else 0
        if not made:
            raise InputError(
                f"strength is the share of the {self.steps} steps that are made, in (0, 1], and at least one step; "
                f"got {strength}"
            )
        solver = self.new_solver()
        index = max(solver.steps - made, 0)
        alpha, sigma = solver.level(index)
        noise = initial_noise(rng.bind(len(latents)), latents.shape[1:], self.generator)
        return self.resume(alpha * latents.to(noise) + sigma * noise, rng.bind(len(latents)), index=index)

    def resume(self, latents: Tensor, rng: Randomness, *, index: int = 0) -> SamplingState:
        """A run that stands before step ``index`` with given latents of that level (network's scale, (n, c, h, w)).

        Raises:
            InputError: latents of the wrong shape, an index that is not a step.
        """
        bound = rng.bind(len(latents))
        solver = self.new_solver()
        if not 0 <= index < solver.steps:
            raise InputError(f"steps are numbered 0 to {solver.steps - 1}; got {index}")
        shape = (self.generator.denoiser.channels, *latents.shape[2:])
        checked = self._checked(latents, bound, shape, None)
        solver.begin(index)
        return SamplingState(solver.internal(checked, index), index, solver, bound)

    def run(
        self,
        state: SamplingState,
        condition: Condition | None = None,
        *,
        guidance: Sequence[GuidanceTerm] = (),
        hooks: Sequence[LatentHook] = (),
        context: StepContext | None = None,
        until: int | None = None,
    ) -> SamplingState:
        """Make steps; the given state is left as it is.

        Args:
            state: where to begin.
            condition: one row for each sample; None for a generator that takes none.
            guidance: terms that are added to the predictions.
            hooks: see and may replace latents before and after each step.
            context: in force around calls of networks (adapters).
            until: number of the step before which to stop; None for all.

        Raises:
            InputError: a condition of another number of rows, a step that is behind.
            ModelError: latents that are not finite, with the step and the samples.
        """
        end = state.solver.steps if until is None else until
        if not state.index <= end <= state.solver.steps:
            raise InputError(f"a run at step {state.index} of {state.solver.steps} cannot go on until step {end}")
        given = Condition(count=len(state)) if condition is None else condition
        if len(given) != len(state):
            raise InputError(
                f"{len(state)} seeds came with a condition of {len(given)} rows; give one row for each seed"
            )
        solver = state.solver.copy()
        calls = Calls(context)
        stored = state.stored
        with torch.no_grad():
            for index in range(state.index, end):
                first = index == state.index
                stored = self._hooked(hooks, "before", stored, solver, index, state, first)
                view = self.view(given, solver, stored, index, state.rng, calls)
                prediction = guide(view, guidance)
                stored = solver.step(prediction, index, stored, state.rng)
                _check_finite(stored, index, solver, state.rng)
                if hooks:
                    x0 = to_x0(prediction, view.kind, view.latents, view.alpha, view.sigma)
                    stored = self._hooked(hooks, "after", stored, solver, index, state, first, x0)
        return SamplingState(stored, end, solver, state.rng, state.calls + calls.calls, state.rows + calls.rows)

    def view(
        self, condition: Condition, solver: Solver, stored: Tensor, index: int, rng: Randomness, calls: Calls
    ) -> StepView:
        """What guidance sees of a step, at latents of the solver's scale (n, c, h, w)."""
        assert rng.ids is not None
        return StepView(
            self.generator,
            condition,
            solver.external(stored, index),
            index=index,
            timestep=solver.timestep(index),
            level=solver.level(index),
            timesteps=lambda rows: solver.timesteps(index, rows),
            ids=rng.ids,
            calls=calls,
        )

    def _hooked(
        self,
        hooks: Sequence[LatentHook],
        when: str,
        stored: Tensor,
        solver: Solver,
        index: int,
        state: SamplingState,
        first: bool,
        x0: Tensor | None = None,
    ) -> Tensor:
        """Stored latents after the hooks; exactly the given ones where none replaces them."""
        at = index if when == "before" else index + 1
        for hook in hooks:
            assert state.rng.ids is not None
            latents = solver.external(stored, at)
            alpha, sigma = solver.level(at)
            moment = Moment(index, solver.steps, solver.timestep(at), latents, alpha, sigma, state.rng.ids, first, x0)
            changed = hook.before(moment) if when == "before" else hook.after(moment)
            if changed is None:
                continue
            if changed.shape != stored.shape:
                raise InputError(f"a hook replaced latents {tuple(stored.shape)} by {tuple(changed.shape)}")
            stored = solver.internal(changed.to(stored), at)
        return stored

    def _checked(self, latents: Tensor, rng: Randomness, shape: Sequence[int], size: tuple[int, int] | None) -> Tensor:
        assert rng.ids is not None
        wanted = (len(rng.ids), *shape)
        if tuple(latents.shape) != wanted:
            raise InputError(
                f"latents have shape {wanted} for {len(rng.ids)} samples of {self.generator.name}"
                f"{f' at {size}' if size else ''}; got {tuple(latents.shape)}"
            )
        return latents.to(self.generator.device, torch.float32)


def initial_noise(rng: Randomness, shape: Sequence[int], generator: Generator) -> Tensor:
    """The noise that a run of these samples begins with, (n, *shape)."""
    noise = rng.normal("noise", tuple(shape))
    return noise.to(generator.device)


def _check_finite(stored: Tensor, index: int, solver: Solver, rng: Randomness) -> None:
    if bool(torch.isfinite(stored).all()):
        return
    assert rng.ids is not None
    broken = (~torch.isfinite(stored).flatten(1).all(1)).nonzero().flatten().tolist()
    names = ", ".join(rng.ids[row] for row in broken[:8])
    raise ModelError(
        f"latents are not finite after step {index} (timestep {solver.timestep(index):g}) of {len(broken)} of "
        f"{len(stored)} samples: {names}; half precision, a guidance scale or an edit may be too much"
    )
