"""How wide a mixture of viewpoints is, and in which direction it grows.

H(p) of viewpoints is that of the unbounded numbers plus the mean log derivative of a · tanh(u) + b. Both are means over
draws u = μ_k + σ_k e, weighted by the components' shares. The published code takes the density of each draw's own
component, −log w + log σ + e² / 2: this bounds the mixture's entropy from above, and does not tell whether components
lie upon each other. That is ``own``; by default the density is the mixture's, and components that overlap move apart.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from snellen.systems.viewpoints.mixture import ViewpointMixture, log_densities, log_density, log_volumes


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
