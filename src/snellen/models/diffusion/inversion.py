"""DDIM inversion: the noise from which deterministic sampling makes given latents.

Song, Meng and Ermon, *Denoising Diffusion Implicit Models* (ICLR 2021), section 4.3: the steps of DDIM without noise,
run backwards. A step forward from x_t needs the prediction at x_t, which is not known on the way back; the usual
inversion takes the prediction at the latents before the step instead. ``refinements`` corrects this by fixed-point
iteration: the prediction is made again at the latents that the step gave (Pan et al., *Effective Real Image Editing
with Accelerated Iterative Diffusion Inversion*, ICCV 2023).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from snellen.core.errors import InputError, ModelError
from snellen.core.randomness import Randomness
from snellen.models.diffusion.condition import Condition
from snellen.models.diffusion.denoiser import to_epsilon, to_x0
from snellen.models.diffusion.guidance import GuidanceTerm, guide
from snellen.models.diffusion.sampler import Sampler, SamplingState
from snellen.models.diffusion.step_view import Calls, StepContext


def invert(
    sampler: Sampler,
    latents: Tensor,
    rng: Randomness,
    condition: Condition | None = None,
    *,
    guidance: Sequence[GuidanceTerm] = (),
    context: StepContext | None = None,
    refinements: int = 0,
    index: int = 0,
) -> SamplingState:
    """A state from which the sampler, with the same condition and guidance, comes back to the latents.

    Without guidance the way back is followed closely; the larger the guidance, the less so. A schedule that clips its
    estimates of the image cannot be inverted where it clips.

    The DDIM of diffusers leads from t to t − T // steps, which with the spacing ``linspace`` is not the next step's
    timestep: what it does cannot be run backwards, and is refused. Folders of PixArt have that spacing; give the
    sampler ``settings={"timestep_spacing": "leading"}``.

    Args:
        sampler: with the solver ``ddim`` and eta 0.
        latents: of clean images, (n, c, h, w): see :meth:`snellen.models.diffusion.generator.Generator.encode`.
        rng: bound to the samples.
        condition: one row for each sample; None for a generator that takes none.
        guidance: terms, as in sampling.
        context: in force around calls of networks (adapters).
        refinements: how often each step is corrected; each costs one more prediction.
        index: the step before which the state stands; larger is less noise and fewer steps.

    Raises:
        InputError: another solver, steps that do not meet, fewer than 0 refinements, latents or condition of the wrong
            shape.
        ModelError: latents that are not finite.
    """
    if sampler.solver != "ddim" or sampler.eta:
        raise InputError(f"only DDIM without noise can be inverted; got {sampler.solver} with eta {sampler.eta}")
    if refinements < 0:
        raise InputError(f"refinements are 0 or more; got {refinements}")
    state = sampler.resume(latents, rng, index=index)
    if state.solver.spacing == "linspace" and state.solver.steps > 1:
        raise InputError(
            "steps of DDIM with timestep_spacing 'linspace' do not meet, so that they cannot be inverted; use "
            "Sampler(..., settings={'timestep_spacing': 'leading'})"
        )
    given = Condition(count=len(state)) if condition is None else condition
    if len(given) != len(state):
        raise InputError(f"{len(state)} samples came with a condition of {len(given)} rows")
    solver, calls, x = state.solver, Calls(context), latents.to(state.stored)
    with torch.no_grad():
        for step in reversed(range(index, solver.steps)):
            source, target = solver.level(step + 1), solver.level(step)
            at = x
            for _ in range(1 + refinements):
                # The network gets the level that the step leads to, also where the latents are not there yet.
                view = sampler.view(given, solver, at, step, state.rng, calls)
                epsilon = to_epsilon(guide(view, guidance), view.kind, at, *target)
                at = target[0] * to_x0(epsilon, "epsilon", x, *source) + target[1] * epsilon
            x = at
    if not bool(torch.isfinite(x).all()):
        raise ModelError(f"inversion of {len(state)} samples ended in latents that are not finite")
    final = state.with_latents(x)
    return SamplingState(final.stored, index, solver, state.rng, calls.calls, calls.rows)
