"""Train a slider: the loop over :mod:`snellen.systems.continuous_nuisance.objective`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from snellen.core.errors import InputError, ModelError
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness
from snellen.models.diffusion.adapters import Adapters
from snellen.models.diffusion.generator import Generator
from snellen.models.diffusion.low_rank import chosen_layers
from snellen.models.diffusion.sampler import Sampler
from snellen.systems.continuous_nuisance.objective import denoised, slider_loss, training_timestep
from snellen.systems.continuous_nuisance.settings import SliderFit
from snellen.systems.continuous_nuisance.slider import Slider, SliderCard, generator_identity, save_slider
from snellen.systems.continuous_nuisance.words import SHIFTED, check_words, shifted_prompt
from snellen.training.environment import record_environment
from snellen.version import __version__

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
        progress: hears of every step.

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
