"""Keep a part of a picture: outside a mask the latents are those of a reference, noised to the level of each step.

Lugmayr et al., *RePaint* (CVPR 2022), without its resampling; the same as the older inpainting pipelines of diffusers.
"""

from __future__ import annotations

from torch import Tensor

from snellen.core.errors import InputError
from snellen.models.diffusion.latent_hooks import LatentHook, Moment


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
