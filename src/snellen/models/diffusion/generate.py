"""Images from prompts or classes and seeds: encode, sample in batches, decode, and say where each came from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.images import Provenance
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness
from snellen.models.diffusion.condition import Condition
from snellen.models.diffusion.generator import Generator
from snellen.models.diffusion.guidance import GuidanceTerm, Scale, classifier_free, row_scales
from snellen.models.diffusion.sampler import LatentHook, Sampler, seeded
from snellen.models.diffusion.step_view import StepContext


@dataclass(frozen=True, eq=False)
class Steering:
    """What acts on one batch beside classifier-free guidance.

    Args:
        guidance: further terms.
        hooks: of the latents.
        context: in force around network calls (adapters).
    """

    guidance: Sequence[GuidanceTerm] = ()
    hooks: Sequence[LatentHook] = ()
    context: StepContext | None = None


#: Positions of a batch in the list of seeds, and their randomness → what acts on that batch.
Steer = Callable[[range, Randomness], Steering]


@dataclass(frozen=True, eq=False)
class Generated:
    """Images with where they came from.

    Args:
        images: float32 (n, 3, h, w) in [0, 1], on the CPU.
        provenance: of each image, as an :class:`snellen.core.images.ImageSet` keeps it.
        settings: what they have in common: generator, solver, steps, eta and size; the negative prompt, if one was
            used; settings of the scheduler that were changed, by their names in diffusers.
        calls: calls of networks, without encoding and decoding.
        rows: rows of these calls.
    """

    images: Tensor
    provenance: tuple[Provenance, ...]
    settings: Mapping[str, str | int | float] = field(default_factory=dict)
    calls: int = 0
    rows: int = 0

    def __len__(self) -> int:
        return len(self.images)

    def bytes(self) -> Tensor:
        """The images as uint8 (n, 3, h, w), on the CPU."""
        return (self.images * 255).round().to(torch.uint8).cpu()


def generate(
    sampler: Sampler,
    seeds: Sequence[int],
    *,
    prompts: Sequence[str] | None = None,
    classes: Sequence[int] | None = None,
    condition: Condition | None = None,
    negative: str | Condition | None = None,
    guidance_scale: Scale = 1.0,
    size: tuple[int, int] | None = None,
    batch_size: int = 8,
    steer: Steer | None = None,
    start: Tensor | None = None,
    strength: float = 1.0,
    progress: Progress | None = None,
) -> Generated:
    """One image for each seed. The batch size changes nothing but the speed.

    Args:
        sampler: the generator, its solver and number of steps.
        seeds: one for each image; the same seed gives the same initial noise.
        prompts: one for each seed, for a generator that takes prompts.
        classes: one for each seed, for a generator that takes classes.
        condition: one row for each seed, instead of prompts or classes; given together with them, it is what the
            network gets and they are what is recorded.
        negative: what to guide away from: a prompt for all, or a condition with a row for each seed; None is the
            generator's own "nothing".
        guidance_scale: of classifier-free guidance, one for all, or one for each seed. 1 means none, 0 what the
            negative alone gives (pipelines of diffusers read all values up to 1 as none). Seeds whose prompt is the
            negative prompt have nothing to be guided away from, and cost no more than without guidance.
        size: height and width; None is the generator's own.
        batch_size: images at a time.
        steer: further guidance, hooks and adapters of a batch.
        start: images (n, 3, h, w) in [0, 1] that are noised and denoised instead of pure noise (image to image, Meng et
            al. 2022, SDEdit); they give the size.
        strength: share of the steps that are made of ``start``, in (0, 1]; 1 leaves next to nothing of it.
        progress: is called for each batch.

    Raises:
        InputError: counts that differ, a prompt that is too long, a size that cannot be made, or a strength that leaves
            no step.
        ModelError: latents that are not finite, with the step and the seeds.
    """
    generator = sampler.generator
    if batch_size < 1:
        raise InputError(f"batch_size is at least 1; got {batch_size}")
    if not seeds:
        raise InputError("there is no seed, so there is no image to generate")
    if start is not None and len(start) != len(seeds):
        raise InputError(f"{len(seeds)} seeds came with {len(start)} images to start from; give one for each seed")
    height_width = size or (generator.image_size if start is None else (start.shape[2], start.shape[3]))
    generator.latent_shape(height_width)
    given = _condition(generator, len(seeds), prompts, classes, condition, height_width)
    scales = row_scales(guidance_scale, len(seeds))
    guided = scales if condition is not None or prompts is None else _away_from_another(scales, prompts, negative)
    reference = _reference(generator, len(seeds), negative, height_width) if bool((guided != 1).any()) else None
    listener = progress or Silent()
    listener.begin("generating", len(seeds))
    images, calls, rows = [], 0, 0
    for first in range(0, len(seeds), batch_size):
        batch = range(first, min(first + batch_size, len(seeds)))
        rng = seeded([seeds[row] for row in batch])
        steering = steer(batch, rng) if steer is not None else Steering()
        wanted = given.select(batch)
        own = []
        if reference is not None:
            away = wanted if reference is given else reference.select(batch)
            own = [classifier_free(guided[list(batch)], away)]
        begun = (
            sampler.start(rng, size=height_width)
            if start is None
            else sampler.start_from(
                generator.encode(_own_channels(generator, start[batch.start : batch.stop])), rng, strength=strength
            )
        )
        state = sampler.run(
            begun,
            wanted,
            guidance=[*own, *steering.guidance],
            hooks=steering.hooks,
            context=steering.context,
        )
        with torch.no_grad():
            images.append(_three_channels(generator.decode(state.latents)).cpu())
        calls, rows = calls + state.calls, rows + state.rows
        listener.advance("generating", len(batch))
    listener.finish("generating")
    return Generated(
        torch.cat(images),
        _provenance(generator, seeds, prompts, classes, scales),
        {
            "generator": generator.name,
            "solver": sampler.solver,
            "steps": sampler.steps,
            "eta": sampler.eta,
            "height": height_width[0],
            "width": height_width[1],
            **({} if start is None else {"strength": strength}),
            **({"negative": negative} if isinstance(negative, str) and reference is not None else {}),
            **{name: _plain(value) for name, value in sampler.settings.items()},
        },
        calls,
        rows,
    )


def _condition(
    generator: Generator,
    count: int,
    prompts: Sequence[str] | None,
    classes: Sequence[int] | None,
    condition: Condition | None,
    size: tuple[int, int],
) -> Condition:
    for name, values in (("prompts", prompts), ("classes", classes), ("rows of the condition", condition)):
        if values is not None and not isinstance(values, str) and len(values) != count:
            raise InputError(f"{count} seeds came with {len(values)} {name}; give one for each seed")
    if condition is not None:
        return condition
    if prompts is not None:
        return generator.encode_prompts(prompts, size=size)
    if classes is not None:
        return generator.encode_classes(classes)
    if generator.takes != "nothing":
        raise InputError(f"{generator.name} takes {generator.takes}: give one for each seed")
    return Condition(count=count)


def _away_from_another(scales: Tensor, prompts: Sequence[str], negative: str | Condition | None) -> Tensor:
    """The scales, 1 where a prompt is the negative prompt: both branches are the same, so one is run."""
    same = torch.tensor([prompt == negative for prompt in prompts])
    return torch.where(same, torch.ones_like(scales), scales)


def _plain(value: object) -> str | int | float:
    return value if isinstance(value, str | int | float) else str(value)


def _reference(generator: Generator, count: int, negative: str | Condition | None, size: tuple[int, int]) -> Condition:
    if isinstance(negative, Condition):
        if len(negative) != count:
            raise InputError(f"{count} seeds came with {len(negative)} rows of the negative condition")
        return negative
    if negative is not None:
        return generator.encode_prompts([negative] * count, size=size)
    if generator.takes == "nothing":
        raise InputError(f"{generator.name} takes no condition, so there is nothing to guide: guidance_scale is 1")
    return generator.null(count, size=size)


def _own_channels(generator: Generator, images: Tensor) -> Tensor:
    """Images of three channels as the generator takes them."""
    if generator.vae is None and generator.denoiser.channels == 1:
        return images.mean(1, keepdim=True)
    return images


def _three_channels(images: Tensor) -> Tensor:
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images


def _provenance(
    generator: Generator,
    seeds: Sequence[int],
    prompts: Sequence[str] | None,
    classes: Sequence[int] | None,
    scales: Tensor,
) -> tuple[Provenance, ...]:
    shown: Sequence[str | None] = prompts or [None] * len(seeds)
    if prompts is None and classes is not None:
        names = generator.class_names
        shown = [f"class {index}" if names is None else names[index] for index in classes]
    return tuple(
        Provenance(origin="generated", generator=generator.name, prompt=prompt, seed=seed, guidance_scale=scale)
        for prompt, seed, scale in zip(shown, seeds, scales.tolist(), strict=True)
    )
