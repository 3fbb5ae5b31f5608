"""Edit with any generator: noise the pictures, denoise them, and put the part that stays back after every step.

This is how ImageNet-E edits backgrounds (Li et al. 2023) and how blended diffusion works in general. One
difference: the noise of the part that stays is drawn once for a run and not anew in each step, so that it moves along a
straight path.

Lugmayr et al., *RePaint* (CVPR 2022), without its resampling; the same as the older inpainting pipelines of diffusers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.models.diffusion.condition import Condition
from snellen.models.diffusion.editor import (
    batches,
    check_edit,
    check_strength,
    conditions,
    covering_mask,
    guided,
    pasted,
)
from snellen.models.diffusion.generate import Steer, Steering
from snellen.models.diffusion.sampler import LatentHook, Moment, Sampler, initial_noise, seeded


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
        # Some schedules end at a small noise that the result is said not to have: the end is the reference itself.
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
