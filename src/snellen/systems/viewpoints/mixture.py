"""A mixture of Gaussians over unbounded numbers, the viewpoints that it makes, and how wide it is.

Source: Ruan et al., "Towards Viewpoint-Invariant Visual Recognition via Adversarial Training" (ICCV 2023): a viewpoint
is v = a · tanh(u) + b, and u is drawn of Σ_k w_k N(μ_k, diag σ_k²). With one component it is the Gaussian of Dong et
al., "ViewFool" (NeurIPS 2022). The published code draws the component of each coordinate by itself, which makes six
mixtures of one number each; here that is ``factorised``, and the mixture is otherwise one of all six.

H(p) of viewpoints is that of the unbounded numbers plus the mean log derivative of a · tanh(u) + b. Both are means over
draws u = μ_k + σ_k e, weighted by the components' shares. The published code takes the density of each draw's own
component, −log w + log σ + e² / 2: this bounds the mixture's entropy from above, and does not show whether components
lie upon each other. That is ``own``; by default the density is the mixture's, and components that overlap move apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.data.worlds.viewpoints import COORDINATES, HALF_RANGES, viewpoints_of

#: Added to 1 − tanh² inside logarithms, as published.
TINY = 1e-8


@dataclass(frozen=True, eq=False)
class ViewpointMixture:
    """K components over six unbounded numbers, float64.

    Attributes:
        means: (k, 6).
        deviations: standard deviations, at least 0, (k, 6).
        weights: (k,), or (k, 6) of one mixture for each coordinate; they sum to 1 over the components.
    """

    means: Tensor
    deviations: Tensor
    weights: Tensor

    def __post_init__(self) -> None:
        if self.means.ndim != 2 or not len(self.means) or self.means.shape[1] != len(COORDINATES):
            raise InputError(f"means must be (k, 6) with k at least 1; got {tuple(self.means.shape)}")
        if self.deviations.shape != self.means.shape or self.weights.shape not in (
            self.means.shape[:1],
            self.means.shape,
        ):
            raise InputError(
                f"deviations must be (k, 6) like the means, weights (k,) or (k, 6); got {tuple(self.deviations.shape)} "
                f"and {tuple(self.weights.shape)} for {tuple(self.means.shape)}"
            )

    @property
    def components(self) -> int:
        """How many."""
        return len(self.means)

    @property
    def factorised(self) -> bool:
        """Whether each coordinate has a mixture of its own."""
        return self.weights.ndim == 2

    @property
    def shares(self) -> Tensor:
        """Weights of the components at each coordinate, (k, 6)."""
        return self.weights if self.factorised else self.weights[:, None].expand_as(self.means)


def first_mixture(
    components: int, *, deviation: float, spread: float, rng: Randomness, factorised: bool = False
) -> ViewpointMixture:
    """Equal components in the middle of the ranges, or spread about it.

    Args:
        components: k, at least 1.
        deviation: of all of them.
        spread: means are drawn uniformly within ± this; 0 puts all in the middle.
        rng: bound to one example, the object.
        factorised: whether each coordinate has a mixture of its own.

    Raises:
        InputError: no component.
    """
    if components < 1:
        raise InputError(f"a mixture has at least 1 component; got {components}")
    shape = (components, len(COORDINATES))
    means = rng.uniform("first means", shape, -spread, spread)[0].double() if spread else torch.zeros(shape).double()
    weights = torch.full(shape if factorised else shape[:1], 1 / components, dtype=torch.float64)
    return ViewpointMixture(means, torch.full(shape, deviation, dtype=torch.float64), weights)


def drawn_components(mixture: ViewpointMixture, count: int, rng: Randomness) -> Tensor:
    """Component of each of ``count`` draws at each coordinate, int64 (count, 6); one for all unless factorised."""
    columns = len(COORDINATES) if mixture.factorised else 1
    places = rng.uniform("components", (count, columns))[0].double()
    ends = mixture.shares[:, :columns].cumsum(0)
    # The last end is 1 but for rounding: a place above it still belongs to the last component.
    chosen = (places[None] >= ends[:, None]).sum(0).clamp(max=mixture.components - 1)
    return chosen.expand(count, len(COORDINATES))


def one_hot(components: Tensor, count: int) -> Tensor:
    """Components (n, 6) as float64 (n, 6, count), so that sums over components are products of matrices."""
    return torch.nn.functional.one_hot(components, count).double()


def placed(mixture: ViewpointMixture, noise: Tensor, components: Tensor) -> Tensor:
    """Unbounded numbers μ + σ e of standard normal noise (n, 6) in its components (n, 6)."""
    columns = torch.arange(len(COORDINATES))
    return mixture.means[components, columns] + mixture.deviations[components, columns] * noise


def draw_unbounded(mixture: ViewpointMixture, count: int, rng: Randomness) -> Tensor:
    """Draw unbounded numbers, float64 (count, 6); ``rng`` is bound to one example, the object."""
    noise = rng.normal("noise", (count, len(COORDINATES)))[0].double()
    return placed(mixture, noise, drawn_components(mixture, count, rng))


def draw_viewpoints_of(mixture: ViewpointMixture, count: int, rng: Randomness) -> Tensor:
    """Draw viewpoints, float64 (count, 6); ``rng`` is bound to one example, the object."""
    return viewpoints_of(draw_unbounded(mixture, count, rng))


def log_densities(mixture: ViewpointMixture, unbounded: Tensor) -> Tensor:
    """Log density of unbounded numbers (..., 6) in each component at each coordinate, (..., k, 6), without weights."""
    offset = (unbounded[..., None, :] - mixture.means) / mixture.deviations
    return -offset.square() / 2 - mixture.deviations.log() - math.log(2 * math.pi) / 2


def log_density(mixture: ViewpointMixture, unbounded: Tensor) -> Tensor:
    """Log density of unbounded numbers (..., 6) in the mixture, (...)."""
    each = log_densities(mixture, unbounded)
    if mixture.factorised:
        return (each + mixture.weights.log()).logsumexp(-2).sum(-1)
    return (each.sum(-1) + mixture.weights.log()).logsumexp(-1)


def log_volumes(unbounded: Tensor) -> Tensor:
    """Log derivative of a · tanh(u) + b at each coordinate, (..., 6) → (..., 6).

    >>> round(float(log_volumes(torch.zeros(6)).sum()), 4)  # log(30 · 180 · 70 · 1 · 0.5 · 0.5)
    11.4564
    """
    return (1 - torch.tanh(unbounded).square() + TINY).log() + unbounded.new_tensor(HALF_RANGES).log()


def log_viewpoint_density(mixture: ViewpointMixture, viewpoints: Tensor) -> Tensor:
    """Log density of viewpoints (n, 6) under the mixture that a · tanh(u) + b has moved, (n,), in their own units.

    Viewpoints at an end of a range have no finite u and a density of 0: −infinity.
    """
    half = viewpoints.new_tensor(HALF_RANGES)
    unbounded = torch.atanh((viewpoints - viewpoints_of(torch.zeros_like(viewpoints))) / half)
    inside = unbounded.isfinite().all(1)
    found = torch.full((len(viewpoints),), -torch.inf, dtype=viewpoints.dtype)
    found[inside] = log_density(mixture, unbounded[inside]) - log_volumes(unbounded[inside]).sum(-1)
    return found


def entropy_of(mixture: ViewpointMixture, noise: Tensor, *, own: bool = False) -> Tensor:
    """Estimate the entropy of the mixture's viewpoints: nats, in degrees and radii, ().

    Args:
        mixture: parts of it may require gradients.
        noise: standard normal (n, 6); every component uses all of it.
        own: take the density of a draw's own component, as published.
    """
    draws = mixture.means[:, None] + mixture.deviations[:, None] * noise  # (k, n, 6)
    volumes = log_volumes(draws)
    if own:
        surprise = noise.square() / 2 + mixture.deviations[:, None].log() + math.log(2 * math.pi) / 2
        chosen = -(mixture.shares * mixture.shares.log()).sum(0)
        # Components are chosen once for each coordinate, or once for all.
        choosing = chosen.sum() if mixture.factorised else chosen[0]
        return choosing + (mixture.shares * (surprise + volumes).mean(1)).sum()
    if mixture.factorised:
        density = (log_densities(mixture, draws) + mixture.weights.log()).logsumexp(-2)
        return (mixture.weights * (volumes - density).mean(1)).sum()
    return (mixture.weights * (volumes.sum(-1) - log_density(mixture, draws)).mean(1)).sum()


def entropy_slopes(mixture: ViewpointMixture, noise: Tensor, *, own: bool = False) -> ViewpointMixture:
    """Slopes of the entropy along means, deviations and weights, in the shape of a mixture.

    Those of means and deviations are divided by the components' shares, as the published ones are: they are slopes of
    what each component adds, and do not vanish as components become many.
    """
    parts = [part.detach().requires_grad_() for part in (mixture.means, mixture.deviations, mixture.weights)]
    with torch.enable_grad():
        entropy = entropy_of(ViewpointMixture(*parts), noise, own=own)
        means, deviations, weights = torch.autograd.grad(entropy, parts)
    return ViewpointMixture(means / mixture.shares, deviations / mixture.shares, weights)
