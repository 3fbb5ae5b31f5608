"""Ask and tell: which views a search tries next, and what it learns of them (natural evolution strategies).

Steps as in the published search: mirrored pairs of draws and the components' means; fitness as centred ranks; means
move by momentum along Σ (F⁺ − F⁻) σ e / w, deviations along the curvature that the pairs show, both towards more
entropy. Sums over pairs are taken as if there were as many as published, so that a smaller population takes steps of
the same size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from snellen.core.randomness import Randomness
from snellen.data.worlds.viewpoints import COORDINATES
from snellen.systems.viewpoints.entropy import entropy_slopes
from snellen.systems.viewpoints.mixture import ViewpointMixture, drawn_components, one_hot, placed
from snellen.systems.viewpoints.settings import SearchSettings

#: Pairs of the published population of 101, whose sum is the slope of a mean.
PUBLISHED_PAIRS = 50

#: The step size of means shrinks by this in every step.
DECAY = 0.99

#: Largest relative change of a deviation and of a weight in one step.
LARGEST_CHANGE = 0.2

#: Deviations above the second number shrink by the first in every step.
SHRINKING, SHRINKING_ABOVE = 0.999, 0.01


@dataclass(frozen=True, eq=False)
class SearchState:
    """Where a search stands.

    Attributes:
        mixture: the distribution.
        velocity: running mean of the means' slopes, (k, 6).
        iteration: steps done.
    """

    mixture: ViewpointMixture
    velocity: Tensor
    iteration: int = 0


@dataclass(frozen=True, eq=False)
class Candidates:
    """What is tried in a step: p draws, the same mirrored, and the means of the k components.

    Attributes:
        noise: standard normal (p, 6).
        components: of each draw at each coordinate, int64 (p, 6).
        unbounded: float64 (2 p + k, 6): draws, mirrored draws, means.
    """

    noise: Tensor
    components: Tensor
    unbounded: Tensor


def started(mixture: ViewpointMixture) -> SearchState:
    """A search that has not moved yet."""
    return SearchState(mixture, torch.zeros_like(mixture.means))


def ask(state: SearchState, popsize: int, rng: Randomness) -> Candidates:
    """Draw the candidates of a step; ``rng`` is bound to one example, the object."""
    pairs, mixture = (popsize - 1) // 2, state.mixture
    noise = rng.normal("noise", (pairs, len(COORDINATES)))[0].double()
    components = drawn_components(mixture, pairs, rng)
    draws = [placed(mixture, sign * noise, components) for sign in (1, -1)]
    return Candidates(noise, components, torch.cat([*draws, mixture.means]))


def centred_ranks(fitness: Tensor) -> Tensor:
    """Ranks of n numbers, spread evenly over [−0.5, 0.5]; equal numbers share their mean rank.

    >>> centred_ranks(torch.tensor([3.0, -torch.inf, 100.0])).tolist()
    [0.0, -0.5, 0.5]
    """
    less = (fitness[:, None] > fitness[None]).sum(1)
    equal = (fitness[:, None] == fitness[None]).sum(1)
    ranks = less.double() + (equal.double() - 1) / 2
    return ranks / max(len(fitness) - 1, 1) - 0.5


def tell(state: SearchState, candidates: Candidates, fitness: Tensor, settings: SearchSettings) -> SearchState:
    """Move a search by what its candidates were worth.

    Args:
        state: where it stands.
        candidates: what :func:`ask` drew there.
        fitness: of each, higher is better, (2 p + k,); −infinity is worse than anything, NaN is not allowed.
        settings: step sizes and bounds.
    """
    mixture, noise = state.mixture, candidates.noise
    pairs, ranks = len(noise), centred_ranks(fitness)
    plus, minus, middle = ranks[:pairs], ranks[pairs : 2 * pairs], ranks[2 * pairs :]
    own = one_hot(candidates.components, mixture.components)  # (p, 6, k)
    # Mean over the pairs that a component is expected to have.
    expected = pairs * mixture.shares
    slopes = entropy_slopes(mixture, noise, own=settings.parity)
    climbed = torch.einsum("p,pd,pdk->kd", plus - minus, noise, own) * mixture.deviations / expected
    velocity = settings.momentum * state.velocity + (1 - settings.momentum) * (
        climbed * PUBLISHED_PAIRS + settings.entropy_weight * slopes.means
    )
    means = mixture.means + settings.mean_rate * DECAY**state.iteration * velocity
    # Above or below the middle of its component, on either side, is a pair worth.
    above = (plus + minus)[:, None] / 2 - torch.einsum("k,pdk->pd", middle, own)
    curved = torch.einsum("pd,pdk->kd", above * (noise.square() - 1), own) * mixture.deviations / expected
    change = settings.deviation_rate * (curved + settings.entropy_weight * slopes.deviations)
    deviations = _within(mixture.deviations, change)
    deviations = torch.where(deviations > SHRINKING_ABOVE, deviations * SHRINKING, deviations)
    least = 0.0 if settings.parity else min(settings.least_deviation, settings.largest_deviation)
    moved = ViewpointMixture(
        means,
        # A deviation of 0 has no logarithm.
        deviations.clamp(max(least, 1e-6), settings.largest_deviation),
        _weights(mixture, plus + minus, own, slopes, settings) if settings.weight_rate else mixture.weights,
    )
    return replace(state, mixture=moved, velocity=velocity, iteration=state.iteration + 1)


def _weights(
    mixture: ViewpointMixture, both: Tensor, own: Tensor, slopes: ViewpointMixture, settings: SearchSettings
) -> Tensor:
    """Weights moved towards components whose draws are worth more."""
    worth = torch.einsum("p,pdk->kd", both / 2, own) / (len(both) * mixture.shares)
    slope = worth if mixture.factorised else worth[:, 0]
    moved = _within(mixture.weights, settings.weight_rate * (slope + settings.entropy_weight * slopes.weights))
    return moved / moved.sum(0)


def _within(values: Tensor, change: Tensor) -> Tensor:
    """Positive values changed by no more than a share of themselves."""
    return values + change.clamp(-LARGEST_CHANGE * values, LARGEST_CHANGE * values)
