"""What a control competes with: three ways to draw from p(z) exp(−E(G(z))) that train nothing.

Rejection costs 1 / rate draws of the generator for each image. It draws exactly p(z) among the accepted images,
which is a hard condition and not the soft p(z) exp(−E). Descent minimises E + ½‖z‖² for each latent by itself: a
mode for each start, and no sample. Langevin dynamics walks on the same energy-based model, z ← z − ½ η ∇U + √η ξ
with U = E + ½‖z‖² (Nie et al. 2021), and is exact only with small steps and after long walks, since no step is
rejected. Each counts what it spends.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.models.latent_generators.latent_generator import LatentGenerator

#: Images (n, 3, h, w) → energy of each with its weight, (n,).
WeightedEnergy = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Drawn:
    """Images of a rival, and their price.

    Attributes:
        images: (n, 3, h, w) in [0, 1], on the CPU.
        latents: (n, d).
        forward: images that the generator made for them.
        backward: images that were differentiated with respect to their latents.
    """

    images: Tensor
    latents: Tensor
    forward: int
    backward: int = 0

    @property
    def calls(self) -> float:
        """Passes of the generator for each image; one backward counts as two forward."""
        return (self.forward + 2 * self.backward) / len(self.images)


def by_rejection(
    generator: LatentGenerator,
    accept: Callable[[Tensor], Tensor],
    count: int,
    *,
    rng: Randomness,
    most: int = 100_000,
    together: int = 128,
) -> Drawn:
    """Draw from the generator, and keep what is accepted.

    Args:
        generator: frozen.
        accept: images → bool (n,).
        count: images that are wanted.
        rng: of the latents.
        most: images to draw before giving up.
        together: at once.

    Raises:
        InputError: too few accepted among so many.
    """
    draws, kept, latents, forward = rng.generator("rejection"), list[Tensor](), list[Tensor](), 0
    found = 0
    while found < count:
        if forward >= most:
            raise InputError(
                f"{found} of {count} wanted images came among {forward:,} draws; rejection needs about one draw over "
                f"the rate for each: ask for fewer, or fit a control"
            )
        noise = torch.randn(together, generator.dimension, generator=draws).to(generator.device)
        images = generator.images(noise)
        chosen = accept(images).cpu()
        forward += together
        kept.append(images[chosen])
        latents.append(noise.cpu()[chosen])
        found += int(chosen.sum())
    # The draws behind the last image that is needed are not counted.
    surplus = found - count
    spent = forward - int(surplus / max(float(chosen.double().mean()), 1 / together))
    return Drawn(torch.cat(kept)[:count], torch.cat(latents)[:count], spent)


def by_descent(
    generator: LatentGenerator,
    energy: WeightedEnergy,
    count: int,
    *,
    steps: int = 50,
    rate: float = 0.1,
    rng: Randomness,
) -> Drawn:
    """Minimise E(G(z)) + ½‖z‖² from each start by Adam."""
    start = torch.randn(count, generator.dimension, generator=rng.generator("descent")).to(generator.device)
    latents = start.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([latents], rate)
    for _ in range(steps):
        optimizer.zero_grad()
        _potential(generator, energy, latents).sum().backward()
        optimizer.step()
    final = latents.detach()
    return Drawn(generator.images(final), final.cpu(), count * (steps + 1), count * steps)


def by_langevin(
    generator: LatentGenerator,
    energy: WeightedEnergy,
    count: int,
    *,
    steps: int = 50,
    size: float = 0.02,
    rng: Randomness,
) -> Drawn:
    """Unadjusted Langevin dynamics from the prior.

    Args:
        generator: frozen.
        energy: with its weight.
        count: walks, each for one image.
        steps: of each walk.
        size: η; a smaller one is more exact and needs more steps.
        rng: of starts and noise.

    Raises:
        InputError: a size that is no number above 0.
    """
    if not (size > 0 and math.isfinite(size)):
        raise InputError(f"the step size of a walk is a number above 0; got {size}")
    draws = rng.generator("langevin")
    latents = torch.randn(count, generator.dimension, generator=draws).to(generator.device)
    for _ in range(steps):
        latents = latents.detach().requires_grad_(True)
        (gradient,) = torch.autograd.grad(_potential(generator, energy, latents).sum(), latents)
        noise = torch.randn(latents.shape, generator=draws).to(latents)
        latents = latents.detach() - 0.5 * size * gradient + math.sqrt(size) * noise
    return Drawn(generator.images(latents), latents.cpu(), count * (steps + 1), count * steps)


def _potential(generator: LatentGenerator, energy: WeightedEnergy, latents: Tensor) -> Tensor:
    """U(z) = E(G(z)) + ½‖z‖², (n,)."""
    return energy(generator(latents)) + 0.5 * latents.square().sum(1)
