"""What a slider learns: to say of a prompt what the frozen network says of it under a shift, and more.

Dünkel, Jesslen, Xie, Theobalt, Rupprecht and Kortylewski, *CNS-Bench*, ICCV 2025, arXiv 2507.17651, after *Concept
Sliders* (Gandikota et al. 2023). With ε the frozen network and ε* the one with the adapter at strength 1, prompts c and
c⁺ (c under the shift), and latents x_t that ε* itself has denoised from noise:

    y = ε(x_t, c) + η (ε(x_t, c⁺) − ε(x_t, c))          loss = ‖ε*(x_t, c) − y‖² / size

ε is the raw output of the network, whatever it predicts. In the published training the neutral and the unconditional
prompt are c as well: guidance is away from the same prediction and changes nothing, so no branch is run for it, and two
calls of the frozen network give y, not three.
"""

from __future__ import annotations

import torch
from torch import Tensor

from snellen.core.randomness import Randomness
from snellen.models.diffusion.adapters import Adapters
from snellen.models.diffusion.condition import Condition
from snellen.models.diffusion.denoiser import Denoiser
from snellen.models.diffusion.sampler import Sampler, SamplingState
from snellen.models.diffusion.solver import Solver
from snellen.models.diffusion.step_adapters import StepAdapters


def slider_target(neutral: Tensor, shifted: Tensor, eta: float) -> Tensor:
    """What is aimed at: y = ε(c) + η (ε(c⁺) − ε(c)).

    >>> slider_target(torch.tensor([1.0]), torch.tensor([1.5]), 4.0)
    tensor([3.])
    """
    return neutral + eta * (shifted - neutral)


def training_timestep(solver: Solver, step: int, *, total: int, parity: bool = False) -> float:
    """The timestep that the network is told of latents before a step of the sampler.

    By default the one that the latents are of. The published code takes entry int(k · 1000 / steps) of the schedule of
    all timesteps, which is a little noisier than the latents are: up to one step of the sampler.

    Args:
        solver: of the sampler.
        step: k, from 0 (noise) up.
        total: number of timesteps of the training schedule.
        parity: as published.
    """
    if not parity:
        return solver.timestep(step)
    return float(total - 1 - int(step * total / solver.steps))


def denoised(
    sampler: Sampler,
    adapters: Adapters,
    name: str,
    condition: Condition,
    rng: Randomness,
    *,
    until: int,
    size: tuple[int, int] | None = None,
) -> SamplingState:
    """Latents x_t: noise that the *adapted* network has denoised up to a step, without guidance and gradients.

    Args:
        sampler: of the generator that is adapted.
        adapters: of its network.
        name: of the slider, whose strength is 1.
        condition: c, a row for each sample.
        rng: bound to the samples.
        until: number of the step before which to stop.
        size: height and width of the image; None is the generator's own.
    """
    return sampler.run(
        sampler.start(rng, size=size), condition, context=StepAdapters(adapters, {name: 1.0}), until=until
    )


def slider_loss(
    denoiser: Denoiser,
    adapters: Adapters,
    name: str,
    latents: Tensor,
    timestep: float,
    prompt: Condition,
    shifted: Condition,
    eta: float,
) -> Tensor:
    """The mean squared error of one batch, (); differentiable in the adapter alone.

    Args:
        denoiser: whose network is adapted.
        adapters: of its network; call this inside ``adapters.training(name)``.
        name: of the slider.
        latents: x_t, (n, c, h, w).
        timestep: of all rows.
        prompt: c, n rows.
        shifted: c⁺, n rows.
        eta: η.
    """
    count = len(latents)
    times = torch.full((2 * count,), timestep, device=latents.device)
    with torch.no_grad(), adapters.off():
        both = denoiser(torch.cat([latents, latents]), times, Condition.concatenate([prompt, shifted]))
        neutral, wanted = both.chunk(2)
        target = slider_target(neutral, wanted, eta)
    with adapters.on({name: 1.0}):
        predicted = denoiser(latents, times[:count], prompt)
    return (predicted.float() - target.float()).square().mean()
