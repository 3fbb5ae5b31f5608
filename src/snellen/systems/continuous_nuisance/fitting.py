"""Train a slider: it learns to predict for a prompt what the frozen network predicts for it under a shift.

Dünkel, Jesslen, Xie, Theobalt, Rupprecht and Kortylewski, *CNS-Bench*, ICCV 2025, arXiv 2507.17651, after *Concept
Sliders* (Gandikota et al. 2023). With ε the frozen network and ε* the one with the adapter at strength 1, prompts c and
c⁺ (c under the shift), and latents x_t that ε* itself has denoised from noise:

    y = ε(x_t, c) + η (ε(x_t, c⁺) − ε(x_t, c))          loss = ‖ε*(x_t, c) − y‖² / size

ε is the raw output of the network, for every kind of prediction. In the published training the neutral and the
unconditional prompt are c as well: guidance is away from the same prediction and changes nothing, so no branch is run
for it, and two calls of the frozen network give y, not three.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from snellen.core.errors import InputError, ModelError
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness
from snellen.models.diffusion.adapters import Adapters
from snellen.models.diffusion.condition import Condition
from snellen.models.diffusion.denoiser import Denoiser
from snellen.models.diffusion.generator import Generator
from snellen.models.diffusion.low_rank import chosen_layers
from snellen.models.diffusion.sampler import Sampler, SamplingState
from snellen.models.diffusion.solver import Solver
from snellen.models.diffusion.step_adapters import StepAdapters
from snellen.systems.continuous_nuisance.slider import Slider, SliderCard, SliderFit, generator_identity, save_slider
from snellen.systems.continuous_nuisance.words import SHIFTED, check_words, shifted_prompt
from snellen.training.environment import record_environment
from snellen.version import __version__


def slider_target(neutral: Tensor, shifted: Tensor, eta: float) -> Tensor:
    """What is aimed at: y = ε(c) + η (ε(c⁺) − ε(c)).

    >>> slider_target(torch.tensor([1.0]), torch.tensor([1.5]), 4.0)
    tensor([3.])
    """
    return neutral + eta * (shifted - neutral)


def training_timestep(solver: Solver, step: int, *, total: int, parity: bool = False) -> float:
    """The timestep that the network gets with latents before a step of the sampler.

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


#: Name of the adapter while it is trained.
_NAME = "slider"


def fit_slider(
    generator: Generator,
    folder: Path,
    words: str,
    prompts: Sequence[str],
    *,
    fit: SliderFit | None = None,
    template: str = SHIFTED,
    rng: Randomness,
    progress: Progress | None = None,
) -> Slider:
    """Train one slider and write it into a folder; the generator is left as it was.

    The published benchmark trains one for each class and shift, so ``prompts`` has one entry. With several prompts, one
    is drawn for each latent, and the slider serves all of them.

    Args:
        generator: that takes prompts.
        folder: for the files.
        words: of the shift, such as "in fog".
        prompts: c, of one class or of several.
        fit: numbers of the training; the published ones by default.
        template: how the words are put to a prompt.
        rng: of the start, prompts, steps and noise.
        progress: callback that receives progress updates.

    Raises:
        InputError: a generator without prompts, or without layers for a slider; no prompt; a word that a generator of
            few words does not know.
        ModelError: a loss that is not finite.
    """
    numbers, listener = fit or SliderFit(), progress or Silent()
    if generator.takes != "prompts":
        raise InputError(f"a slider is trained by prompts, and {generator.name} takes {generator.takes}")
    if not prompts:
        raise InputError("a slider is trained on one prompt at least; got none")
    targets = [shifted_prompt(prompt, words, template) for prompt in prompts]
    check_words(generator, [*prompts, *targets])
    try:
        chosen_layers(generator.denoiser.network, numbers.low_rank())
    except InputError as error:
        raise InputError(f"{generator.name} has no layers for a slider: {error}") from error
    identity = generator_identity(generator)
    # Every prompt is encoded once.
    size = None if numbers.size is None else (numbers.size, numbers.size)
    plain, shifted = (generator.encode_prompts(list(texts), size=size) for texts in (prompts, targets))
    sampler = Sampler(generator, steps=numbers.steps)
    solver, total = sampler.new_solver(), len(generator.denoiser.alphas_cumprod)
    draws = rng.generator("steps")
    stops = torch.randint(1, numbers.steps, (numbers.iterations,), generator=draws).tolist()
    which = torch.randint(len(prompts), (numbers.iterations, numbers.batch_size), generator=rng.generator("prompts"))
    adapters = Adapters(generator.denoiser.network)
    losses: list[float] = []
    listener.begin(f"slider {words!r}", numbers.iterations)
    try:
        adapters.add(_NAME, numbers.low_rank(), rng=rng)
        with adapters.training(_NAME) as parameters:
            optimizer = torch.optim.AdamW(parameters, lr=numbers.learning_rate)
            for iteration, (stop, rows) in enumerate(zip(stops, which, strict=True)):
                own = rng.child("noise").for_examples([f"{iteration} {row}" for row in range(len(rows))])
                told, wanted = plain.select(rows), shifted.select(rows)
                state = denoised(sampler, adapters, _NAME, told, own, until=stop, size=size)
                timestep = training_timestep(solver, stop, total=total, parity=numbers.parity)
                loss = slider_loss(
                    generator.denoiser, adapters, _NAME, state.latents, timestep, told, wanted, numbers.eta
                )
                losses.append(loss.item())
                if not torch.isfinite(loss):
                    raise ModelError(
                        f"the loss of the slider {words!r} is {losses[-1]} at step {iteration + 1}; a smaller learning "
                        f"rate than {numbers.learning_rate:g} may help"
                    )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                listener.advance(f"slider {words!r}", 1)
        card = SliderCard(
            words=words,
            prompts=tuple(prompts),
            shifted=tuple(targets),
            fit=numbers,
            generator=generator.name,
            generator_identity=identity,
            losses=_tenths(losses),
            seed=rng.seed,
            code_version=__version__,
            environment=record_environment(generator.device),
        )
        saved = save_slider(adapters, _NAME, folder, card)
    finally:
        adapters.unload()
    listener.finish(f"slider {words!r}")
    return saved


def _tenths(losses: Sequence[float]) -> tuple[float, ...]:
    size = -(-len(losses) // 10)
    parts = [losses[start : start + size] for start in range(0, len(losses), size)]
    return tuple(round(sum(part) / len(part), 6) for part in parts)
