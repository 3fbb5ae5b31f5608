"""What every fitting of a part of a generator stands on: latents of random crops, and the loss of the denoiser.

L = E ‖target − f(z_t, t, τ(prompt))‖², with the target, noise or velocity, that the model predicts (Ho et al. 2020;
Rombach et al. 2022, equation 2). It is differentiable in all that is trained of the denoiser and the text towers.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from snellen.core.randomness import Randomness
from snellen.models.diffusion.denoiser import add_noise, squared_errors, training_target
from snellen.models.diffusion.generator import Generator

#: Images that are cut and encoded at once.
TOGETHER = 16


def cropped_latents(generator: Generator, images: Sequence[Tensor], crops: int, rng: Randomness) -> Tensor:
    """Latents of random crops of images, drawn from what the encoder gives: (crops · n, c, h, w).

    The short side of each is scaled to the generator's size, and a window of that size is cut out.

    Args:
        generator: whose encoder is used.
        images: each (3, h, w) in [0, 1], of any size.
        crops: of each image; row i shows image i mod n.
        rng: of windows and latents.
    """
    rows = []
    for crop in range(crops):
        draws = rng.generator(f"crop {crop}")
        for start in range(0, len(images), TOGETHER):
            part = torch.cat([_window(one, generator.image_size, draws) for one in images[start : start + TOGETHER]])
            rows.append(generator.encode(part, rng.child("latents", crop, start)))
    return torch.cat(rows)


def _window(image: Tensor, size: tuple[int, int], draws: torch.Generator) -> Tensor:
    """A random window (1, 3, *size) of an image whose sides are scaled together until it just fits in."""
    height, width = size
    scale = max(height / image.shape[1], width / image.shape[2])
    large = max(round(image.shape[1] * scale), height), max(round(image.shape[2] * scale), width)
    scaled = image[None]
    if large != tuple(image.shape[1:]):
        scaled = torch.nn.functional.interpolate(
            scaled, large, mode="bilinear", antialias=True, align_corners=False
        ).clamp(0, 1)
    top, left = (int(torch.randint(free + 1, (), generator=draws)) for free in (large[0] - height, large[1] - width))
    return scaled[:, :, top : top + height, left : left + width]


def denoising_loss(
    generator: Generator, latents: Tensor, prompts: Sequence[str], timesteps: Tensor, noise: Tensor, *, text: bool
) -> Tensor:
    """The loss above for one batch, ().

    Args:
        generator: with what is fitted acting.
        latents: z_0, (n, c, h, w).
        prompts: n of them.
        timesteps: t, int64 (n,).
        noise: ε, (n, c, h, w).
        text: whether gradients go through the text towers.
    """
    denoiser = generator.denoiser
    size = latents.shape[2] * generator.factor, latents.shape[3] * generator.factor
    condition = generator.encode_prompts(prompts, size=size, gradients=text)
    noisy = add_noise(latents, noise, denoiser.alphas_cumprod, timesteps)
    target = training_target(denoiser.prediction, latents, noise, denoiser.alphas_cumprod, timesteps)
    return squared_errors(denoiser(noisy, timesteps, condition), target).mean()


def tenths(losses: Sequence[float]) -> tuple[float, ...]:
    """Mean of each tenth of the losses of a fitting, to six digits."""
    size = max(-(-len(losses) // 10), 1)
    parts = [losses[start : start + size] for start in range(0, len(losses), size)]
    return tuple(round(sum(part) / len(part), 6) for part in parts)
