"""β of a moment constraint: the least change of a generator that gives an attribute a wanted mean (stage one).

Wanted is E[γ(x)] = μ, with γ(x) the probabilities that a classifier gives. The distribution nearest to the generator's
own that fulfils it is p'(x) ∝ p(x) exp(βᵀ γ(x)) (C. H. Wu et al. 2022, section 3.3, after Khalifa et al. 2021). β comes
from self-normalised importance sampling over one set of images of the generator, without gradients through it:

    w_b = exp(βᵀ γ_b) / Σ exp(βᵀ γ),   μ̂ = Σ w_b γ_b,   and β minimises log mean_b exp(βᵀ γ_b) − βᵀ μ

The last is convex, with gradient μ̂ − μ: the same solution as that of ‖μ̂ − μ‖² → 0, which is published, by Newton steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.core.errors import InputError

#: μ̂ may differ from μ by so much in each number.
TOLERANCE = 1e-3

#: β of fewer effective samples than this is refused: too few images carry all the weight.
LEAST_EFFECTIVE = 10.0

#: A wanted share of 0 is fitted as this one, or as the generator's own where that is smaller. Probabilities of a
#: classifier are never 0, so that no finite β gives a mean of 0.
NEAR_NONE = 0.01

#: β with a larger entry is refused: it would follow the last digits of the classifier's probabilities.
LARGEST = 50.0

_STEPS, _RIDGE = 200, 1e-9


@dataclass(frozen=True)
class Moments:
    """A fitted constraint.

    Attributes:
        beta: (k,), with mean 0, because a constant changes nothing.
        reached: μ̂, what the weighted images have.
        effective: effective sample size, (Σ w)² / Σ w².
        samples: images that β was fitted to.
    """

    beta: tuple[float, ...]
    reached: tuple[float, ...]
    effective: float
    samples: int


def weights_of(gamma: Tensor, beta: Tensor) -> Tensor:
    """Self-normalised importance weights of images with moments γ (n, k): (n,), of sum 1."""
    return torch.softmax(gamma.double() @ beta.double(), 0)


def effective_size(weights: Tensor) -> float:
    """Effective sample size of weights (n,): n where they are equal, 1 where one has all.

    >>> effective_size(torch.ones(4)), effective_size(torch.tensor([1.0, 0.0]))
    (4.0, 1.0)
    """
    return float(weights.double().sum().square() / weights.double().square().sum())


def wanted_moments(shares: Tensor, classes: int) -> Tensor:
    """μ as checked shares of classes, float64 (k,).

    Raises:
        InputError: another number of shares than classes, or shares outside the simplex.
    """
    wide = shares.double()
    if wide.shape != (classes,):
        raise InputError(f"expected a share of each of the {classes} classes; got {len(wide)}")
    if not bool(torch.isfinite(wide).all()) or float(wide.min()) < 0 or abs(float(wide.sum()) - 1) > 1e-4:
        raise InputError(f"shares of classes are at least 0 and sum to 1; got {[round(v, 4) for v in wide.tolist()]}")
    return wide / wide.sum()


def fit_moments(gamma: Tensor, shares: Tensor, *, names: tuple[str, ...] = ()) -> Moments:
    """Fit β to cached moments of images of the generator.

    >>> gamma = torch.tensor([[1.0, 0.0]] * 80 + [[0.0, 1.0]] * 20)
    >>> found = fit_moments(gamma, torch.tensor([0.5, 0.5]))
    >>> [round(v, 3) for v in found.reached], round(found.effective)
    ([0.5, 0.5], 64)

    Args:
        gamma: γ of each image, (n, k), rows sum to 1.
        shares: μ, (k,).
        names: of the classes, for messages.

    Shares of 0 are fitted as :data:`NEAR_NONE`, and the others shrink by as much.

    Raises:
        InputError: shares outside the simplex, or that the images cannot have under any weights, or only if a few
            images carry all the weight or β is above :data:`LARGEST`; the message has the effective sample size.
    """
    wide = gamma.double()
    asked = wanted_moments(shares, gamma.shape[1])
    wanted = torch.where(asked == 0, wide.mean(0).clamp(max=NEAR_NONE), asked)
    wanted = wanted / wanted.sum()
    beta = wide.new_zeros(wide.shape[1])

    def objective(at: Tensor) -> Tensor:
        return torch.logsumexp(wide @ at, 0) - at @ wanted

    for _ in range(_STEPS):
        weights = weights_of(wide, beta)
        reached = weights @ wide
        gradient = reached - wanted
        if float(gradient.abs().max()) <= TOLERANCE:
            break
        centred = wide - reached
        curvature = (centred * weights[:, None]).T @ centred
        curvature += _RIDGE * torch.eye(len(beta), dtype=beta.dtype)
        step = torch.linalg.lstsq(curvature, gradient[:, None]).solution[:, 0]
        step *= min(1.0, 5.0 / float(step.abs().max().clamp_min(1e-12)))
        length, value, slope = 1.0, objective(beta), float(gradient @ step)
        while length > 1e-6 and float(objective(beta - length * step)) > float(value) - 1e-4 * length * slope:
            length /= 2
        beta = beta - length * step
        beta = beta - beta.mean()
    weights = weights_of(wide, beta)
    reached, effective = weights @ wide, effective_size(weights)
    worst = int((wanted - reached).argmax())  # what is missing most
    off = float((reached - wanted).abs().max())
    if off > TOLERANCE or effective < LEAST_EFFECTIVE:
        label = names[worst] if names else f"class {worst}"
        raise InputError(
            f"the wanted shares cannot be reached from this generator: {label!r} has {float(wide.mean(0)[worst]):.3%} "
            f"of its images, {float(wanted[worst]):.1%} are wanted, and weights reach {float(reached[worst]):.1%} with "
            f"an effective sample size of {effective:.1f} of {len(wide)}; ask for shares that it draws, use more "
            f"samples, or a generator that draws this class"
        )
    if float(beta.abs().max()) > LARGEST:
        extreme = int(beta.abs().argmax())
        label = names[extreme] if names else f"class {extreme}"
        raise InputError(
            f"a share of {float(wanted[extreme]):.2%} for {label!r} needs β of {float(beta[extreme]):.0f}, and at most "
            f"{LARGEST:.0f} in size is fitted: its probabilities are hardly ever so low; ask "
            f"for 0, which is fitted as at most {NEAR_NONE:.0%}, or for more"
        )
    return Moments(tuple(beta.tolist()), tuple(reached.tolist()), effective, len(wide))
