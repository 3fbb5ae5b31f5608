"""Editors: change a masked part of pictures and leave the rest; and one that works with any generator.

A mask is 1 where a picture may change and 0 where it stays; nothing between. Two editors exist:
:class:`BlendedEditor` for any generator, and :class:`snellen.models.diffusion.editor_inpainting.InpaintingEditor` for
networks that were trained to see the mask.

Blending is how ImageNet-E edits backgrounds (Li et al. 2023) and how blended diffusion works in general. One
difference: the noise of the part that stays is drawn once for a run and not anew in each step, so that it moves along a
straight path. Lugmayr et al., *RePaint* (CVPR 2022), without its resampling; the same as the older inpainting pipelines
of diffusers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.models.diffusion.condition import Condition
from snellen.models.diffusion.generate import Steer, Steering
from snellen.models.diffusion.generator import Generator
from snellen.models.diffusion.guidance import GuidanceTerm, classifier_free
from snellen.models.diffusion.sampler import LatentHook, Moment, Sampler, initial_noise, seeded


class Editor(Protocol):
    """Something that paints new content into the masked part of pictures."""

    def edit(self, images: Tensor, masks: Tensor, prompts: Sequence[str] | None, seeds: Sequence[int]) -> Tensor:
        """Edit pictures; the same seed gives the same edit in every batch.

        Args:
            images: float (n, c, h, w) in [0, 1].
            masks: (n, 1, h, w), bool or 0 and 1; 1 is changed, 0 stays.
            prompts: what shall be there, one for each picture; None for an editor that takes none.
            seeds: one for each picture.

        Returns:
            Float32 (n, c, h, w) in [0, 1], on the device of ``images``.
        """
        ...


def check_edit(images: Tensor, masks: Tensor, seeds: Sequence[int]) -> Tensor:
    """Check what an editor was given, and return the masks as bool (n, 1, h, w).

    >>> check_edit(torch.rand(1, 3, 2, 2), torch.tensor([[[[0.0, 1.0], [0.0, 0.0]]]]), [0]).sum()
    tensor(1)

    Raises:
        InputError: images that are not float (n, c, h, w) in [0, 1]; masks of another shape, with other values than 0
            and 1, or empty; another number of seeds.
    """
    if images.ndim != 4 or not images.is_floating_point() or not len(images):
        raise InputError(f"images are float (n, c, h, w), at least one; got {images.dtype} {tuple(images.shape)}")
    if not bool(((images >= -1e-6) & (images <= 1 + 1e-6)).all()):
        raise InputError(f"images are in [0, 1]; got {float(images.min()):.4g} to {float(images.max()):.4g}")
    wanted = (len(images), 1, *images.shape[2:])
    if tuple(masks.shape) != wanted:
        raise InputError(
            f"masks for images {tuple(images.shape)} have shape {wanted}, one for each image; got {tuple(masks.shape)}"
        )
    if not bool(((masks == 0) | (masks == 1)).all()):
        raise InputError("a mask has the values 1 (change) and 0 (stay) only; compare it with a threshold first")
    empty = [row for row, mask in enumerate(masks) if not bool(mask.any())]
    if empty:
        raise InputError(f"the masks of images {empty[:8]} are empty: there is nothing to edit; leave these images out")
    if len(seeds) != len(images):
        raise InputError(f"{len(images)} images came with {len(seeds)} seeds; give one for each image")
    return masks.to(images.device).bool()


def check_strength(sampler: Sampler, strength: float) -> None:
    """Refuse a share of the steps that leaves none (InputError)."""
    if not 0 < strength <= 1 or int(sampler.steps * strength) < 1:
        raise InputError(
            f"strength is the share of the {sampler.steps} steps that are made, in (0, 1], and at least one step; got "
            f"{strength}"
        )


def covering_mask(masks: Tensor, factor: int) -> Tensor:
    """Masks of pixels as masks of latents, float32: a latent is free where *any* of its pixels is.

    >>> covering_mask(torch.tensor([[[[True, False, False, False], [False] * 4]]]), 2)
    tensor([[[[1., 0.]]]])

    Args:
        masks: (n, 1, h, w).
        factor: pixels of a latent in each direction.
    """
    return functional.max_pool2d(masks.float(), factor) if factor > 1 else masks.float()


def sampled_mask(masks: Tensor, factor: int) -> Tensor:
    """Masks of pixels as masks of latents, float32: the pixel in the upper left corner decides, as in diffusers.

    >>> sampled_mask(torch.tensor([[[[True, False, False, True], [False] * 4]]]), 2)
    tensor([[[[1., 0.]]]])
    """
    return masks[:, :, ::factor, ::factor].float()


def pasted(edited: Tensor, images: Tensor, masks: Tensor) -> Tensor:
    """Edited pictures with the pixels outside of the masks put back, bit for bit."""
    return torch.where(masks, edited, images.float())


def batches(count: int, batch_size: int) -> list[range]:
    """Positions of the images of each batch.

    >>> batches(5, 2)
    [range(0, 2), range(2, 4), range(4, 5)]

    Raises:
        InputError: a batch size below 1.
    """
    if batch_size < 1:
        raise InputError(f"batch_size is at least 1; got {batch_size}")
    return [range(start, min(start + batch_size, count)) for start in range(0, count, batch_size)]


def conditions(
    generator: Generator, prompts: Sequence[str] | None, condition: Condition | None, negative: str, images: Tensor
) -> tuple[Condition, Condition | None]:
    """The condition of a generator, and the one that it is guided away from (None: there is none).

    Args:
        generator: the model.
        prompts: one for each image, for a generator that takes prompts.
        condition: one row for each image, instead of prompts.
        negative: the prompt to guide away from; empty for the generator's own "nothing".
        images: (n, c, h, w).

    Raises:
        InputError: prompts for a generator that takes none, or none for one that does; another number than images.
    """
    count, size = len(images), (images.shape[2], images.shape[3])
    if condition is None:
        if generator.takes == "classes":
            raise InputError(f"{generator.name} takes classes: give condition=generator.encode_classes(ids)")
        if generator.takes == "nothing" and prompts is None:
            return Condition(count=count), None
        if prompts is None or isinstance(prompts, str) or len(prompts) != count:
            came = "none" if prompts is None else repr(prompts) if isinstance(prompts, str) else str(len(prompts))
            raise InputError(f"a list of prompts has one for each of the {count} images; got {came}")
        condition = generator.encode_prompts(list(prompts), size=size)
    elif prompts is not None or len(condition) != count:
        raise InputError(f"a condition has a row for each of the {count} images, and comes instead of prompts")
    if negative:
        return condition, generator.encode_prompts([negative] * count, size=size)
    no_null = generator.takes == "nothing" or (generator.takes == "classes" and generator.null_class is None)
    return condition, None if no_null else generator.null(count, size=size)


def guided(scale: float, reference: Condition | None, generator: Generator) -> list[GuidanceTerm]:
    """Classifier-free guidance of a batch; nothing at scale 1.

    Raises:
        InputError: guidance of a generator that has nothing to be guided away from.
    """
    if scale == 1:
        return []
    if reference is None:
        raise InputError(f"{generator.name} has no 'nothing' to guide away from: its guidance_scale is 1; got {scale}")
    return [classifier_free(scale, reference)]


class Blending(LatentHook):
    """A hook that puts the reference back outside a mask, before the first step and after each.

    At level (alpha, sigma) the reference is alpha r + sigma eps with one eps for the whole run, so it moves along a
    straight path; after the last step it is r itself.

    Args:
        reference: latents of clean images, (n, c, h, w).
        mask: 1 where the sampler is free, 0 where the reference stays, values between mix: (n or 1, 1, h, w).
        noise: standard normal noise (n, c, h, w). With that of the run's start
            (:func:`snellen.models.diffusion.sampler.initial_noise`) both parts begin from the same noise.

    Raises:
        InputError: shapes that do not fit each other, or a mask outside [0, 1].
    """

    def __init__(self, reference: Tensor, mask: Tensor, noise: Tensor) -> None:
        if noise.shape != reference.shape:
            raise InputError(f"noise {tuple(noise.shape)} and reference {tuple(reference.shape)} differ in shape")
        wanted = (len(reference), 1, *reference.shape[2:])
        if mask.ndim != 4 or tuple(mask.shape) not in (wanted, (1, *wanted[1:])):
            raise InputError(f"a mask for latents {tuple(reference.shape)} has shape {wanted}; got {tuple(mask.shape)}")
        if bool((mask < 0).any()) or bool((mask > 1).any()):
            raise InputError(f"a mask is in [0, 1]; got {float(mask.min()):g} to {float(mask.max()):g}")
        self._reference, self._mask, self._noise = reference, mask.to(reference), noise.to(reference)

    def before(self, moment: Moment) -> Tensor | None:
        """The reference put back before the first step of a run."""
        return self._blended(moment) if moment.first else None

    def after(self, moment: Moment) -> Tensor:
        """The reference put back after a step."""
        return self._blended(moment)

    def _blended(self, moment: Moment) -> Tensor:
        # Some schedules end at a small noise that the result should not have: the end is the reference itself.
        ended = moment.timestep < 0
        noised = self._reference if ended else moment.alpha * self._reference + moment.sigma * self._noise
        return self._mask * moment.latents + (1 - self._mask) * noised


@dataclass(frozen=True, eq=False)
class BlendedEditor:
    """An editor made of any generator.

    Args:
        sampler: generator, solver and number of steps.
        strength: share of the steps that are made, in (0, 1]: how far the masked part may move from what it was.
        guidance_scale: of classifier-free guidance; 1 is none.
        negative: prompt to guide away from.
        paste: put the pixels outside of the mask back, bit for bit. By default where the latents are the pixels: there
            the blend ends at these pixels anyway, up to rounding, so pasting can make no seam. A decoder changes all
            pixels a little, and pasting would then draw an edge along the mask, which a classifier may see; without
            pasting, the outside is the decoder's rendering of it.
        batch_size: images at a time; changes nothing but the speed.
        steer: further guidance, hooks and adapters of a batch.

    Raises:
        InputError: a strength that leaves no step.
    """

    sampler: Sampler
    strength: float = 1.0
    guidance_scale: float = 1.0
    negative: str = ""
    paste: bool | None = None
    batch_size: int = 8
    steer: Steer | None = None

    def __post_init__(self) -> None:
        check_strength(self.sampler, self.strength)

    def edit(
        self,
        images: Tensor,
        masks: Tensor,
        prompts: Sequence[str] | None,
        seeds: Sequence[int],
        *,
        condition: Condition | None = None,
        start: Tensor | None = None,
    ) -> Tensor:
        """Edit pictures; see :class:`snellen.models.diffusion.editor.Editor`.

        Args:
            images: what stays, outside of the masks.
            masks: 1 is changed, 0 stays.
            prompts: for a generator that takes prompts.
            seeds: one for each picture.
            condition: one row for each picture, instead of prompts.
            start: what is noised and then denoised, (n, c, h, w): another background, for instance; by default the
                pictures themselves.

        Raises:
            InputError: see :func:`snellen.models.diffusion.editor.check_edit`; a size that the generator cannot make.
        """
        free = check_edit(images, masks, seeds)
        generator = self.sampler.generator
        if start is not None and start.shape != images.shape:
            raise InputError(f"start {tuple(start.shape)} and images {tuple(images.shape)} differ in shape")
        generator.latent_shape((images.shape[2], images.shape[3]))
        given, reference = conditions(generator, prompts, condition, self.negative, images)
        parts = []
        for batch in batches(len(images), self.batch_size):
            rows = slice(batch.start, batch.stop)
            rng = seeded([seeds[row] for row in batch])
            away = None if reference is None else reference.select(batch)
            begin = None if start is None else start[rows]
            part = self._edit(images[rows], free[rows], begin, given.select(batch), away, batch, rng)
            parts.append(part.to(images.device))
        edited = torch.cat(parts)
        paste = generator.vae is None if self.paste is None else self.paste
        return pasted(edited, images, free) if paste else edited

    def _edit(
        self,
        images: Tensor,
        free: Tensor,
        begin: Tensor | None,
        condition: Condition,
        reference: Condition | None,
        batch: range,
        rng: Randomness,
    ) -> Tensor:
        generator = self.sampler.generator
        steering = self.steer(batch, rng) if self.steer is not None else Steering()
        kept = generator.encode(images)
        moved = kept if begin is None else generator.encode(begin)
        noise = initial_noise(rng, kept.shape[1:], generator)
        blending = Blending(kept, covering_mask(free, generator.factor).to(kept), noise)
        state = self.sampler.run(
            self.sampler.start_from(moved, rng, strength=self.strength),
            condition,
            guidance=[*guided(self.guidance_scale, reference, generator), *steering.guidance],
            hooks=[*steering.hooks, blending],
            context=steering.context,
        )
        with torch.no_grad():
            return generator.decode(state.latents).float()
