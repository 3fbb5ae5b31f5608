"""The training of f by reverse KL, which needs neither data nor samples of the target (C. H. Wu et al. 2022, eq. 5).

    L = E_ε [ Σ_i λ_i E_i(G(f(ε))) + ½‖f(ε)‖² − log|det J_f(ε)| ]

is KL(p_θ(z) ‖ p(z) exp(−Σ λ E(G(z)))) up to a constant. Weights λ grow from 0 while they warm up, because strong ones
at once collapse to few modes. The best of the checked states is kept.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from snellen.core.errors import InputError, ModelError
from snellen.core.progress import Progress, Silent
from snellen.core.randomness import Randomness
from snellen.models.latent_generators.latent_generator import LatentGenerator
from snellen.systems.distributional_control.divergence import Variety, variety
from snellen.systems.distributional_control.energies import Pairing, Weighted, total_energy
from snellen.systems.distributional_control.invertible_network import InvertibleNetwork

#: What progress calls it.
TASK = "fitting the control"


class ControlFit(BaseModel):
    """Numbers of a fit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(1000, ge=1, description="optimizer steps")
    batch_size: int = Field(32, ge=2, description="images at once")
    accumulate: int = Field(1, ge=1, description="batches whose gradients make one step")
    learning_rate: float = Field(1e-3, gt=0, allow_inf_nan=False)
    clip_norm: float = Field(1.0, gt=0, description="largest norm of a gradient", allow_inf_nan=False)
    blocks: int = Field(8, ge=1, description="of the invertible network")
    hidden: int = Field(256, ge=1, description="width of its subnets")
    warm_up: float = Field(0.3, ge=0, le=1, description="share of the steps in which the weights grow to their value")
    decay: bool = Field(True, description="lower the learning rate to 0 along half a cosine")
    check_every: int = Field(100, ge=1, description="steps between checks; the best one is kept")
    checked: int = Field(256, ge=2, description="fixed draws of a check")
    keep: Literal["loss", "energy"] = Field("loss", description="what the kept check is lowest in")
    truncation: float = Field(1.0, gt=0, le=1, description="of the generator while the control is trained")


#: Numbers that fit the small generators, and the published ones (320 steps of 32: ten rounds of 1,024 draws).
PRESETS: dict[str, ControlFit] = {
    "small": ControlFit(),
    "published": ControlFit(
        steps=320, batch_size=8, accumulate=4, warm_up=0, decay=False, check_every=50, checked=1024, keep="energy"
    ),
}

#: (count, draws) → conditions α (count, k) to train with.
Conditions = Callable[[int, torch.Generator], Tensor]


@dataclass(frozen=True, eq=False)
class Fitted:
    """A trained network, and what its checks found.

    Attributes:
        network: frozen, in evaluation mode.
        history: of each check: step, loss, energy.
        kept: step of the state that was kept.
        variety: of the kept state, at the truncation of sampling.
    """

    network: InvertibleNetwork
    history: tuple[dict[str, float], ...]
    kept: int
    variety: Variety


def reverse_kl(energy: Tensor, latents: Tensor, log_determinant: Tensor) -> Tensor:
    """Loss of each draw: weighted energy (n,), latents (n, d), log-determinant (n,) → (n,), nats.

    >>> reverse_kl(torch.tensor([1.0]), torch.tensor([[2.0, 0.0]]), torch.tensor([0.5])).tolist()
    [2.5]
    """
    return energy + 0.5 * latents.square().sum(1) - log_determinant


def fit_control(
    generator: LatentGenerator,
    terms: Sequence[Weighted],
    *,
    fit: ControlFit | None = None,
    rng: Randomness,
    sampling: float = 1.0,
    conditions: Conditions | None = None,
    neutral: Tensor | None = None,
    progress: Progress | None = None,
) -> Fitted:
    """Train an invertible network so that the generator draws what the energies want.

    Args:
        generator: frozen; gradients go through it.
        terms: energies with their weights; none leaves the generator's own distribution.
        fit: numbers.
        rng: of everything random.
        sampling: truncation that images will be sampled with; checks and variety are measured at it.
        conditions: draws α for a conditional network; None for one without.
        neutral: α of the neutral condition, (k,), for energies that compare with it; zeros by default.
        progress: callback that receives progress updates.

    Raises:
        InputError: a generator without gradients, or energies that need a condition without one.
        ModelError: a loss that is not finite (the message names the step), or no check that gave a number.
    """
    numbers, listener = fit or ControlFit(), progress or Silent()
    generator.check_gradients()
    draws = rng.generator("fit")
    width = 0 if conditions is None else int(conditions(1, torch.Generator().manual_seed(0)).shape[1])
    seed = int(rng.generator("network").initial_seed() % 2**31)
    network = InvertibleNetwork(
        generator.dimension, blocks=numbers.blocks, hidden=numbers.hidden, conditions=width, seed=seed
    ).to(generator.device)
    parameters = list(network.parameters())
    optimizer = torch.optim.AdamW(parameters, numbers.learning_rate, weight_decay=0.0)
    run = _Run(generator, tuple(terms), network, conditions, neutral)
    fixed = run.drawn(numbers.checked, rng.generator("checks"))
    best, kept, history = math.inf, 0, list[dict[str, float]]()
    state = copy.deepcopy(network.state_dict())
    warm = round(numbers.warm_up * numbers.steps)
    listener.begin(TASK, numbers.steps)
    for step in range(numbers.steps):
        share = min(1.0, (step + 1) / warm) if warm else 1.0
        if numbers.decay:
            rate = numbers.learning_rate * 0.5 * (1 + math.cos(math.pi * step / numbers.steps))
            for group in optimizer.param_groups:
                group["lr"] = rate
        for _ in range(numbers.accumulate):
            noise, condition = run.drawn(numbers.batch_size, draws)
            loss, _, _ = run.losses(noise, condition, draws, share, numbers.truncation)
            mean = loss.mean() / numbers.accumulate
            if not bool(torch.isfinite(mean)):
                raise ModelError(
                    f"the loss is not finite at step {step + 1} of {numbers.steps}; lower the weights or the learning "
                    f"rate, or lengthen the warm-up"
                )
            # Of the network alone: models of the caller are left without gradients.
            for parameter, gradient in zip(parameters, torch.autograd.grad(mean, parameters), strict=True):
                parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
        torch.nn.utils.clip_grad_norm_(parameters, numbers.clip_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        listener.advance(TASK, 1)
        last = step + 1 == numbers.steps
        if last or (step + 1) % numbers.check_every == 0:
            figures = run.check(*fixed, sampling)
            history.append({"step": float(step + 1), **figures})
            # Before the weights have their value, a low loss is that of another target.
            if figures[numbers.keep] < best and (share == 1 or last):
                best, kept, state = figures[numbers.keep], step + 1, copy.deepcopy(network.state_dict())
    listener.finish(TASK)
    if not kept:
        raise ModelError(
            f"no check of the fit gave a number for the {numbers.keep}; lower the weights or the learning rate, or "
            f"look at the energies at the truncation of sampling ({sampling})"
        )
    network.load_state_dict(state)
    network.eval().requires_grad_(False)
    return Fitted(network, tuple(history), kept, run.variety(*fixed, sampling))


@dataclass(frozen=True, eq=False)
class _Run:
    """What one training holds."""

    generator: LatentGenerator
    terms: tuple[Weighted, ...]
    network: InvertibleNetwork
    conditions: Conditions | None
    neutral: Tensor | None

    def drawn(self, count: int, draws: torch.Generator) -> tuple[Tensor, Tensor | None]:
        """ε (n, d), and α (n, k) where there is one; drawn on the CPU, so that a device changes nothing."""
        noise = torch.randn(count, self.generator.dimension, generator=draws).to(self.generator.device)
        alpha = None if self.conditions is None else self.conditions(count, draws).to(noise)
        return noise, alpha

    def losses(
        self, noise: Tensor, alpha: Tensor | None, draws: torch.Generator, share: float, truncation: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Loss and energy of each draw, (n,), and the images."""
        latents, log_determinant = self.network(noise, alpha)
        images = self.generator(latents, truncation)
        pairing = None if alpha is None else Pairing(alpha, self._neutral_images(noise, alpha, truncation))
        energy = total_energy(self.terms, images, pairing, draws, share=share)
        return reverse_kl(energy, latents, log_determinant), energy, images

    def _neutral_images(self, noise: Tensor, alpha: Tensor, truncation: float) -> Tensor | None:
        """Images of the same ε at the neutral condition; they are made once for all energies that compare."""
        if not any(term.energy.needs_neutral for term in self.terms):
            return None
        neutral = torch.zeros_like(alpha) if self.neutral is None else self.neutral.to(alpha).expand_as(alpha)
        with torch.no_grad():
            return self.generator(self.network(noise, neutral)[0], truncation)

    def check(self, noise: Tensor, alpha: Tensor | None, sampling: float) -> dict[str, float]:
        """Mean loss and energy of the fixed draws, with full weights, at the truncation of sampling."""
        draws = torch.Generator().manual_seed(0)  # the same views in every check
        rows = torch.arange(len(noise)).split(64)
        parts = []
        with torch.no_grad():
            for part in rows:
                own = None if alpha is None else alpha[part]
                loss, energy, _ = self.losses(noise[part], own, draws, 1.0, sampling)
                parts.append(torch.stack([loss, energy]).cpu())
        loss, energy = torch.cat(parts, 1).double().mean(1).tolist()
        return {"loss": loss, "energy": energy}

    def variety(self, noise: Tensor, alpha: Tensor | None, sampling: float) -> Variety:
        """Of the fixed draws, against the generator's own images of the same noise."""
        with torch.no_grad():
            latents, log_determinant = self.network(noise, alpha)
        images, own = (self.generator.images(one, sampling) for one in (latents, noise))
        return variety(images, own, log_determinant.cpu(), self.generator.dimension)


def check_terms(terms: Sequence[Weighted]) -> None:
    """Refuse weights that are no numbers of at least 0.

    Raises:
        InputError: one of them.
    """
    for term in terms:
        if not (math.isfinite(term.weight) and term.weight >= 0):
            raise InputError(f"the weight of {term.energy.name} is a number of at least 0; got {term.weight}")
