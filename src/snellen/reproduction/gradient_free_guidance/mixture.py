"""A mixture of Gaussians in the plane whose denoiser is known exactly, sampled by the sampler that all generators use.

Six classes of three components each. The conditional model is imperfect: a quarter of its mass lies on all components.
The noise schedule is that of Karras et al. 2022, sigma from 10 to 0.02 and then 0, expressed in the training steps that
the sampler knows. Guidance, sampler and solver are those of images; the latents are points (n, 2, 1, 1).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from snellen.core.randomness import derive_seed
from snellen.models.diffusion.condition import Condition
from snellen.models.diffusion.denoiser import Denoiser
from snellen.models.diffusion.generator import Generator
from snellen.models.diffusion.guidance import GuidanceTerm, classifier_free
from snellen.models.diffusion.sampler import Sampler, seeded
from snellen.models.diffusion.solver import alphas_cumprod
from snellen.models.diffusion.step_view import StepView
from snellen.systems.gradient_free_guidance.confusion import ReferencePolicy, ScalePolicy
from snellen.systems.gradient_free_guidance.gradient_free import Deciding, GradientFreeRule, away_from_confusion

CLASSES, COMPONENTS = 6, 3

#: Standard deviation of a component; the judge knows it, the guiding classifier takes another one.
DEVIATION, GUIDE_DEVIATION = 0.12, 0.2

#: Share of the conditional model's mass that lies on all components.
LEAK = 0.25

#: Levels of noise and number of Euler steps.
HIGHEST, LOWEST, STEPS = 10.0, 0.02, 32

#: Training timesteps, between which the solver interpolates.
_TIMESTEPS = 1000


def centres() -> Tensor:
    """Centres of the components, class by class, float64 (18, 2)."""
    of_class = torch.arange(CLASSES, dtype=torch.float64).repeat_interleave(COMPONENTS)
    number = torch.arange(COMPONENTS, dtype=torch.float64).repeat(CLASSES)
    angle, radius = 2 * math.pi * of_class / CLASSES + 0.28 * (number - 1), 1 + 0.45 * number
    return torch.stack([radius * angle.cos(), radius * angle.sin()], 1)


def posterior(points: Tensor, deviation: float) -> Tensor:
    """Log-probability of each class of points (n, 2), for components of a standard deviation: (n, 6)."""
    exponents = -torch.cdist(points.double(), centres()).square() / (2 * deviation**2)
    return exponents.unflatten(1, (CLASSES, COMPONENTS)).logsumexp(2).log_softmax(1)


class MixtureNetwork(nn.Module):
    """E[x₀ | x, class]; class 6 is "none", under which all components weigh the same."""

    def __init__(self) -> None:
        super().__init__()
        own = torch.eye(CLASSES, dtype=torch.float64).repeat_interleave(COMPONENTS, 1) / COMPONENTS
        all_alike = torch.full((1, CLASSES * COMPONENTS), 1 / (CLASSES * COMPONENTS), dtype=torch.float64)
        self.weights = nn.Parameter(torch.cat([(1 - LEAK) * own + LEAK * all_alike, all_alike]), requires_grad=False)

    def forward(self, points: Tensor, sigma: Tensor, classes: Tensor) -> Tensor:
        """Points x₀ + sigma n, float64 (n, 2), sigma (n,) and classes (n,) → (n, 2)."""
        variance = (DEVIATION**2 + sigma.square())[:, None]
        exponents = -torch.cdist(points, centres()).square() / (2 * variance)
        mean = (self.weights[classes].log() + exponents).softmax(1) @ centres()
        return mean + DEVIATION**2 / variance * (points - mean)


@dataclass(frozen=True, eq=False)
class MixtureDenoiser(Denoiser):
    """The network behind the call of every denoiser: latents of variance one, timesteps of the training schedule."""

    def __call__(self, latents: Tensor, timesteps: Tensor, condition: Condition) -> Tensor:
        """Predict x₀, (n, 2, 1, 1)."""
        assert condition.classes is not None
        # The solver finds its timesteps by interpolating log sigma; this is the way back.
        share = timesteps.double() / (_TIMESTEPS - 1)
        sigma = LOWEST * (HIGHEST / LOWEST) ** share
        points = latents.double().flatten(1) * (1 + sigma.square()).sqrt()[:, None]
        predicted: Tensor = self.network(points, sigma, condition.classes)
        return predicted.to(latents).view_as(latents)


def mixture_generator() -> Generator:
    """The mixture as a generator of classes."""
    sigma = LOWEST * (HIGHEST / LOWEST) ** (torch.arange(_TIMESTEPS, dtype=torch.float64) / (_TIMESTEPS - 1))
    kept = 1 / (1 + sigma.square())
    betas = 1 - kept / torch.cat([torch.ones(1, dtype=torch.float64), kept[:-1]])
    schedule = {"trained_betas": betas.tolist(), "num_train_timesteps": _TIMESTEPS}
    denoiser = MixtureDenoiser(MixtureNetwork(), "sample", alphas_cumprod(schedule), 2, (1, 1), 1)
    return Generator("mixture", denoiser, schedule, classes=CLASSES + 1, null_class=CLASSES)


def sampled(rule: str, strength: float, *, count: int, seed: int) -> tuple[Tensor, Tensor, list[float]]:
    """Points of classes in turn, guided by a rule.

    Args:
        rule: ``none``, ``cfg``, ``fixed`` (fixed scale, chosen reference), ``adaptive``, or ``even`` (adaptive scale, a
            reference drawn evenly).
        strength: scale of ``cfg`` and ``fixed``, gamma of ``adaptive`` and ``even``.
        count: number of points.
        seed: of their noise.

    Returns:
        Points (n, 2), their classes (n,), and the mean scale of each step.
    """
    generator, classes = mixture_generator(), torch.arange(count) % CLASSES
    settings = {"use_karras_sigmas": True, "timestep_spacing": "linspace"}
    sampler = Sampler(generator, steps=STEPS, solver="euler", settings=settings)
    rng = seeded([derive_seed(seed, "mixture", number) for number in range(count)])
    fixed = ScalePolicy(rule="linear", lowest=strength or 1.0, highest=strength or 1.0)
    policy = fixed if rule == "fixed" else ScalePolicy(gamma=strength, threshold=0.0)
    chosen = GradientFreeRule(ReferencePolicy("even" if rule == "even" else "strongest"), policy)
    deciding = Deciding(chosen, _read, classes, rng)
    terms: list[GuidanceTerm] = []
    if rule == "cfg":
        terms = [classifier_free(strength, generator.null(count))]
    elif rule != "none":
        terms = [away_from_confusion(deciding, lambda others: generator.encode_classes(others.tolist()))]
    state = sampler.run(sampler.start(rng), generator.encode_classes(classes.tolist()), guidance=terms)
    return state.latents.flatten(1), classes, [float(one.scale.mean()) for one in deciding.log.values()]


def mixture_figures(rule: str, strength: float, *, count: int, seed: int) -> dict[str, float]:
    """Accuracy by a judge, normalised entropy of the use of components, distance to them, and the least and most w."""
    points, classes, scales = sampled(rule, strength, count=count, seed=seed)
    distances = torch.cdist(points.double(), centres())
    used = torch.bincount(distances.argmin(1), minlength=CLASSES * COMPONENTS).double() / count
    figures = {
        "accuracy": float((posterior(points, DEVIATION).argmax(1) == classes).double().mean()),
        "entropy": float(torch.special.entr(used).sum() / math.log(CLASSES * COMPONENTS)),
        "distance": float(distances.amin(1).mean()),
    }
    return figures | ({"least_scale": min(scales), "most_scale": max(scales)} if scales else {})


def _read(view: StepView) -> Tensor:
    return posterior(view.x0().flatten(1), GUIDE_DEVIATION)
