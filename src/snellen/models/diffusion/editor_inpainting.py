"""Edit with a network that was trained for it: it sees the mask, and the picture without the masked part.

Such a network, in the form of the inpainting models of Stable Diffusion, takes nine channels: the noisy latents (4),
the mask (1) and the latents of the picture with the masked part grey (4). What it makes equals what the pipeline
``StableDiffusionInpaintPipeline`` of diffusers makes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.models.diffusion.condition import Condition
from snellen.models.diffusion.editor import (
    batches,
    check_edit,
    check_strength,
    conditions,
    guided,
    pasted,
    sampled_mask,
)
from snellen.models.diffusion.generate import Steer, Steering
from snellen.models.diffusion.generator import Generator
from snellen.models.diffusion.loading import load_unchecked
from snellen.models.diffusion.sampler import Sampler, SamplingState, seeded
from snellen.models.diffusion.step_adapters import Together
from snellen.models.diffusion.step_view import NetworkCall


def load_inpainting_generator(
    ref: str | Path, *, device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32
) -> Generator:
    """Load a diffusers folder of an inpainting model, for :class:`InpaintingEditor` alone.

    Raises:
        InputError: a folder that cannot be loaded, or of a model that does not take a mask.
        MissingExtraError: diffusers or transformers is not installed.
    """
    return inpainting_generator(load_unchecked(ref, device=device, dtype=dtype))


def inpainting_generator(generator: Generator) -> Generator:
    """A generator whose network takes latents, mask and masked latents, with the channels of its latents alone.

    Raises:
        InputError: the network does not take that many channels.
    """
    taken = int(getattr(generator.denoiser.network.config, "in_channels", 0))
    channels = int(generator.vae.config.latent_channels) if generator.vae is not None else 0
    if not channels or taken != 2 * channels + 1:
        raise InputError(
            f"{generator.name} is no inpainting model: its network takes {taken} channels, and latents, mask and "
            f"masked latents would be {2 * channels + 1}; use BlendedEditor, which works with any generator"
        )
    return replace(generator, denoiser=replace(generator.denoiser, channels=channels))


@dataclass(frozen=True, eq=False)
class MaskedInput:
    """Gives the network of an inpainting model its mask and masked latents, for the rows of each call.

    Args:
        network: the network that is meant; calls of others are left alone.
        masks: float (n, 1, h, w), 1 where the picture changes.
        masked: latents of the pictures with the masked part grey, (n, c, h, w).
    """

    network: nn.Module
    masks: Tensor
    masked: Tensor

    @contextmanager
    def active(self, call: NetworkCall) -> Iterator[None]:
        """Add the channels for one call; see :class:`snellen.models.diffusion.step_view.StepContext`."""
        if call.denoiser.network is not self.network:
            yield
            return

        def add(_network: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
            latents: Tensor = given[0]
            parts = [latents, *(part[call.samples].to(latents) for part in (self.masks, self.masked))]
            return torch.cat(parts, dim=1), *given[1:]

        handle = self.network.register_forward_pre_hook(add)
        try:
            yield
        finally:
            handle.remove()


@dataclass(frozen=True, eq=False)
class InpaintingEditor:
    """An editor made of an inpainting model.

    Args:
        sampler: of a generator from :func:`load_inpainting_generator`, with solver and number of steps.
        strength: share of the steps that are made, in (0, 1]; 1 begins from noise alone, less from the noised picture.
        guidance_scale: of classifier-free guidance; 1 is none.
        negative: prompt to guide away from.
        paste: put the pixels outside of the mask back, bit for bit. Not by default: the decoder changes all pixels a
            little, so that pasting may draw an edge along the mask.
        batch_size: images at a time; changes nothing but the speed.
        steer: further guidance, hooks and adapters of a batch.

    Raises:
        InputError: a generator that is no inpainting model, a strength that leaves no step.
    """

    sampler: Sampler
    strength: float = 1.0
    guidance_scale: float = 7.5
    negative: str = ""
    paste: bool = False
    batch_size: int = 8
    steer: Steer | None = None

    def __post_init__(self) -> None:
        inpainting_generator(self.sampler.generator)
        generator = self.sampler.generator
        if generator.denoiser.channels != int(generator.vae.config.latent_channels):
            raise InputError(
                f"{generator.name} was loaded as an ordinary generator; load it with load_inpainting_generator()"
            )
        check_strength(self.sampler, self.strength)

    def edit(self, images: Tensor, masks: Tensor, prompts: Sequence[str] | None, seeds: Sequence[int]) -> Tensor:
        """Edit pictures; see :class:`snellen.models.diffusion.editor.Editor`.

        Raises:
            InputError: see :func:`snellen.models.diffusion.editor.check_edit`; a size that the networks cannot make.
        """
        free = check_edit(images, masks, seeds)
        generator = self.sampler.generator
        generator.latent_shape((images.shape[2], images.shape[3]))
        given, reference = conditions(generator, prompts, None, self.negative, images)
        parts = []
        for batch in batches(len(images), self.batch_size):
            rows = slice(batch.start, batch.stop)
            rng = seeded([seeds[row] for row in batch])
            away = None if reference is None else reference.select(batch)
            parts.append(self._edit(images[rows], free[rows], given.select(batch), away, batch, rng).to(images.device))
        edited = torch.cat(parts)
        return pasted(edited, images, free) if self.paste else edited

    def masked_input(self, images: Tensor, masks: Tensor, seeds: Sequence[int]) -> MaskedInput:
        """What the network is shown of pictures (n, c, h, w) and masks (n, 1, h, w), as the seeds draw it.

        The latents of the masked pictures are drawn from the encoder's distribution, as in training.
        """
        return self._masked_input(images, check_edit(images, masks, seeds), seeded(seeds))

    def _masked_input(self, images: Tensor, free: Tensor, rng: Randomness) -> MaskedInput:
        generator = self.sampler.generator
        # 0.5 is the grey that is 0 for the encoder.
        masked = generator.encode(torch.where(free, 0.5, images.float()), rng.child("masked"))
        return MaskedInput(generator.denoiser.network, sampled_mask(free, generator.factor).to(masked), masked)

    def _start(self, images: Tensor, rng: Randomness) -> SamplingState:
        if self.strength == 1:
            return self.sampler.start(rng, size=(images.shape[2], images.shape[3]))
        latents = self.sampler.generator.encode(images, rng.child("picture"))
        return self.sampler.start_from(latents, rng, strength=self.strength)

    def _edit(
        self,
        images: Tensor,
        free: Tensor,
        condition: Condition,
        reference: Condition | None,
        batch: range,
        rng: Randomness,
    ) -> Tensor:
        generator = self.sampler.generator
        steering = self.steer(batch, rng) if self.steer is not None else Steering()
        shown = self._masked_input(images, free, rng)
        state = self.sampler.run(
            self._start(images, rng),
            condition,
            guidance=[*guided(self.guidance_scale, reference, generator), *steering.guidance],
            hooks=steering.hooks,
            context=shown if steering.context is None else Together([shown, steering.context]),
        )
        with torch.no_grad():
            return generator.decode(state.latents).float()
