"""Two forms of denoising loss, EDM's and DDPM's, behind one interface: pixel losses for a level, noise and class.

EDM (Karras et al. 2022): ln sigma ~ N(−1.2, 1.2²), (D(x + n; sigma, k) − x)² (sigma² + sigma_d²) / (sigma sigma_d)².
DDPM (Ho et al. 2020, equation 14): t uniform, and (eps(√ᾱ x + √(1 − ᾱ) n, t, k) − n)².
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.models.diffusion.denoiser import convert
from snellen.models.diffusion.generator import Generator

#: Noisy images (n, c, h, w), sigma, classes (n,) → images (n, c, h, w): the preconditioned denoiser D of EDM.
EdmDenoise = Callable[[Tensor, float, Tensor], Tensor]


class NoiseForm(Protocol):
    """How well a class explains a noisy image, by a model."""

    def levels(self, count: int, draws: np.random.Generator) -> list[float]:
        """Levels of noise of ``count`` draws, on the form's own scale."""
        ...

    def losses(self, clean: Tensor, level: float, noise: Tensor, classes: Tensor) -> Tensor:
        """Losses of each pixel, mean over channels: (n, h, w).

        Args:
            clean: what the model denoises, in [−1, 1] (pixels) or latents, (n, c, h, w).
            level: of the noise, one for all.
            noise: standard normal, (n, c, h, w).
            classes: int64 (n,).
        """
        ...


@dataclass(frozen=True)
class EdmForm:
    """The published form.

    Args:
        denoise: the preconditioned denoiser.
        data_deviation: sigma_d.
        mean, deviation: of ln sigma.
    """

    denoise: EdmDenoise
    data_deviation: float = 0.5
    mean: float = -1.2
    deviation: float = 1.2

    def levels(self, count: int, draws: np.random.Generator) -> list[float]:
        """Values of sigma."""
        return [float(one) for one in np.exp(draws.normal(self.mean, self.deviation, count))]

    def losses(self, clean: Tensor, level: float, noise: Tensor, classes: Tensor) -> Tensor:
        """See :class:`NoiseForm`; ``level`` is sigma."""
        weight = (level**2 + self.data_deviation**2) / (level * self.data_deviation) ** 2
        found = self.denoise(clean + level * noise, level, classes)
        return (found - clean).square().mean(1) * weight


@dataclass(frozen=True)
class DdpmForm:
    """The form of a generator of this library.

    Args:
        generator: one that takes classes.

    Raises:
        InputError: one that does not.
    """

    generator: Generator

    def __post_init__(self) -> None:
        if self.generator.takes != "classes":
            raise InputError(f"{self.generator.name} takes {self.generator.takes}, not classes")

    def levels(self, count: int, draws: np.random.Generator) -> list[float]:
        """Timesteps, stratified: of n draws one lies in each n-th of the schedule."""
        steps = len(self.generator.denoiser.alphas_cumprod)
        places = (np.arange(count) + draws.uniform(size=count)) / count
        return [float(one) for one in draws.permutation(np.minimum((places * steps).astype(int), steps - 1))]

    def losses(self, clean: Tensor, level: float, noise: Tensor, classes: Tensor) -> Tensor:
        """See :class:`NoiseForm`; ``level`` is the timestep."""
        found, _, _ = self._predicted(clean, int(level), noise, classes)
        return (found - noise).square().mean(1)

    def _predicted(self, clean: Tensor, timestep: int, noise: Tensor, classes: Tensor) -> tuple[Tensor, float, float]:
        denoiser = self.generator.denoiser
        kept = float(denoiser.alphas_cumprod[timestep])
        alpha, sigma = kept**0.5, (1 - kept) ** 0.5
        noisy = alpha * clean + sigma * noise
        times = torch.full((len(clean),), timestep, dtype=torch.int64, device=clean.device)
        condition = self.generator.encode_classes(classes.tolist())
        predicted = denoiser(noisy, times, condition)
        # Noise is not defined by a prediction of the image where there is none.
        return convert(predicted, denoiser.prediction, "epsilon", noisy, alpha, max(sigma, 1e-6)), alpha, sigma


def as_edm(generator: Generator) -> EdmForm:
    """A generator of this library behind EDM's form: D(x; sigma, k) at the timestep with the nearest sigma / alpha."""
    denoiser = generator.denoiser
    kept = denoiser.alphas_cumprod.double()
    ratios = ((1 - kept) / kept.clamp(min=1e-12)).sqrt()

    def denoise(noisy: Tensor, sigma: float, classes: Tensor) -> Tensor:
        timestep = int((ratios.log() - float(np.log(sigma))).abs().argmin())
        alpha, level = float(kept[timestep] ** 0.5), float((1 - kept[timestep]) ** 0.5)
        times = torch.full((len(noisy),), timestep, dtype=torch.int64, device=noisy.device)
        scaled = alpha * noisy
        predicted = denoiser(scaled, times, generator.encode_classes(classes.tolist()))
        return convert(predicted, denoiser.prediction, "sample", scaled, alpha, level)

    return EdmForm(denoise)
