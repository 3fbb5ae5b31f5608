"""One-shot denoising: noise of a given sigma is a moment of a diffusion, and one call of its network undoes it.

Carlini, Tramèr, Dvijotham, Rice, Sun and Kolter, "(Certified!!) adversarial robustness for free!", ICLR 2023, arXiv
2206.10550, algorithm 1. Deterministic given the noisy image, so that it is a part of the network that votes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.models.diffusion.denoiser import to_x0
from snellen.models.diffusion.generator import Generator


def timestep_of(sigma: float, alphas_cumprod: Tensor) -> int:
    """The first timestep whose noise, relative to its image in [−1, 1], is at least that of sigma in [0, 1].

    √(1 − ᾱ) / √ᾱ ≥ 2 σ: a pixel that goes from −1 to 1 has twice the range. Without noise it is the first one.

    >>> timestep_of(0.25, torch.tensor([0.99, 0.8, 0.5]))
    1

    Args:
        sigma: standard deviation of the noise, in [0, 1] pixel units.
        alphas_cumprod: ᾱ of each timestep, falling.

    Raises:
        InputError: more noise than the diffusion ever adds.
    """
    # In float64, with a rounding error's room: a level that is met exactly counts.
    ratios = ((1 - alphas_cumprod.double()) / alphas_cumprod.double()).sqrt()
    enough = (ratios >= 2 * sigma * (1 - 1e-6)).nonzero().flatten()
    if not len(enough):
        raise InputError(
            f"sigma {sigma} is more noise than this diffusion ever adds ({float(ratios.max()) / 2:.3g}); take less"
        )
    return int(enough[0])


def one_shot_denoiser(
    generator: Generator, *, sigma: float, grey: bool, size: tuple[int, int]
) -> Callable[[Tensor], Tensor]:
    """A function from noisy images (n, 3, h, w) to their estimates in [0, 1], differentiably.

    A generator of grey images takes the mean of the channels, in which independent noise is smaller by √3.

    Args:
        generator: of pixels, without prompts.
        sigma: standard deviation of the noise in the images.
        grey: whether the noise is the same in all channels.
        size: height and width of the images.

    Raises:
        InputError: a generator of latents, of prompts or of classes alone, images of another size, or more noise than
            it knows.
    """
    if generator.vae is not None or generator.takes == "prompts":
        kind = "latents" if generator.vae is not None else "prompts"
        raise InputError(f"{generator.name} works with {kind}; a one-shot denoiser is a diffusion of pixels without")
    generator.null(1)
    generator.latent_shape(size)
    of_grey = generator.denoiser.channels == 1
    at = timestep_of(sigma / 3**0.5 if of_grey and not grey else sigma, generator.denoiser.alphas_cumprod)
    kept = float(generator.denoiser.alphas_cumprod[at])
    alpha, noise = kept**0.5, (1 - kept) ** 0.5

    def denoise(images: Tensor) -> Tensor:
        count = len(images)
        shown = images.mean(1, keepdim=True) if of_grey else images
        latents = alpha * (2 * shown - 1)
        condition = generator.null(count)
        times = torch.full((count,), at, dtype=torch.int64, device=images.device)
        predicted = generator.denoiser(latents, times, condition)
        clean = to_x0(predicted, generator.denoiser.prediction, latents, alpha, noise).clamp(-1, 1)
        return ((clean + 1) / 2).expand(-1, 3, -1, -1)

    return denoise
