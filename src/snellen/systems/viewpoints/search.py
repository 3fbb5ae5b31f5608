"""The search itself: from a mixture to one whose viewpoints fool a classifier, by queries alone.

Steps as in the published search: mirrored pairs of draws and the components' means; fitness as centred ranks; means
move by momentum along Σ (F⁺ − F⁻) σ e / w, deviations along the curvature that the pairs show, both towards more
entropy. Sums over pairs are taken as if there were as many as published, so that a smaller population takes steps of
the same size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import BaseModel, Field, field_validator
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.criterion import Criterion
from snellen.core.randomness import Randomness
from snellen.data.worlds.viewpoints import COORDINATES, viewpoints_of
from snellen.systems.viewpoints.mixture import (
    ViewpointMixture,
    drawn_components,
    entropy_slopes,
    first_mixture,
    one_hot,
    placed,
)
from snellen.systems.viewpoints.views import Look


class SearchSettings(BaseModel):
    """Fields of methods that search for viewpoints (GMVFool, Ruan et al. 2023; ViewFool with one component)."""

    components: int = Field(15, ge=1, le=100, description="Gaussians in the mixture of each object; 1 is ViewFool")
    popsize: int = Field(
        101,
        ge=3,
        le=2001,
        description="views of a step, odd: mirrored pairs and a mean; one more for each component but one",
    )
    iterations: int = Field(50, ge=0, le=10_000, description="steps of a search that starts anew")
    entropy_weight: float = Field(0.05, ge=0, allow_inf_nan=False, description="weight of the mixture's entropy")
    start_deviation: float = Field(0.1, gt=0, le=1, description="deviation of a new mixture, unbounded numbers")
    start_spread: float = Field(
        1.0, ge=0, le=3, description="means of a new mixture lie within ± this; 0: all in the middle of the ranges"
    )
    mean_rate: float = Field(0.1, gt=0, le=10, description="step size of means, × 0.99 in every step")
    momentum: float = Field(0.9, ge=0, lt=1, description="of the means' slopes")
    deviation_rate: float = Field(0.2, ge=0, le=10, description="step size of deviations, at most 20 % in a step")
    least_deviation: float = Field(0.05, ge=0, le=1, description="of a component; 0 is used by parity")
    largest_deviation: float = Field(0.15, gt=0, le=3, description="of a component")
    weight_rate: float = Field(0.0, ge=0, le=1, description="step size of weights (published: 0.02, not used)")
    stop_when_fooled: bool = Field(
        False, description="end a search with the first step whose views all succeed: cheaper, and less wide"
    )
    least_coverage: float = Field(
        0.005, ge=0, lt=1, description="share of the picture that an object must cover; less is a blank view"
    )
    parity: bool = Field(
        False,
        description="as the published code: a mixture for each coordinate, entropy of each draw's own component, no "
        "least deviation, and deviations that are forgotten where a search goes on",
    )

    @field_validator("popsize")
    @classmethod
    def _odd(cls, popsize: int) -> int:
        if popsize % 2 == 0:
            raise ValueError(f"must be odd: mirrored pairs and the means; got {popsize}")
        return popsize


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


#: Prepared images (n, 3, h, w) → scores (n, c): logits or log-probabilities.
Score = Callable[[Tensor], Tensor]

#: Views that are in memory at once.
AT_ONCE = 512

Ended = Literal["ran", "fooled", "blank", "not finite"]


@dataclass(frozen=True, eq=False)
class FoundViewpoints:
    """What a search found for one object.

    Attributes:
        mixture: the distribution, as it stood at the end.
        iterations: steps done.
        renders: views that were rendered.
        blanks: how many of them did not show the object.
        ended: ``ran`` all steps, or ended early: ``fooled`` (every view of a step succeeded, where that was requested),
            ``blank`` (no view of a step showed the object), ``not finite`` (scores were NaN or infinite).
    """

    mixture: ViewpointMixture
    iterations: int
    renders: int
    blanks: int
    ended: Ended


@dataclass(frozen=True, eq=False)
class Judged:
    """Views and a classifier's scores of them.

    Attributes:
        scores: (n, c); NaN where the object is not seen.
        fitness: cross-entropy of the label, or its negative for a target; −infinity where the object is not seen.
        success: bool (n,), the criterion is met and the object is seen.
        blank: bool (n,).
        finite: whether all scores of views that show the object are finite.
    """

    scores: Tensor
    fitness: Tensor
    success: Tensor
    blank: Tensor
    finite: bool


def scores_of(classifier: Classifier) -> Score:
    """A classifier as a search calls it: prepared images from wherever, on its own device."""

    def score(images: Tensor) -> Tensor:
        return classifier(images.to(classifier.device))

    return score


def judge(look: Look, score: Score, viewpoints: Tensor, *, label: int, criterion: Criterion) -> Judged:
    """Render views and ask the classifier about those that show the object; nothing has a gradient."""
    blanks, told = list[Tensor](), list[Tensor]()
    for part in viewpoints.split(AT_ONCE):
        views = look(part)
        blanks.append(views.blank)
        if not bool(views.blank.all()):
            with torch.no_grad():
                told.append(score(views.images[~views.blank]).detach().float().cpu())
    blank = torch.cat(blanks)
    shown = ~blank
    fitness = torch.full((len(viewpoints),), -torch.inf, dtype=torch.float64)
    success = torch.zeros(len(viewpoints), dtype=torch.bool)
    if not told:
        return Judged(torch.zeros(len(viewpoints), 0), fitness, success, blank, True)
    scores = torch.cat(told)
    labels = torch.full((len(scores),), label)
    finite = bool(torch.isfinite(scores).all())
    if finite:
        # Computed in float64: cross-entropy of sure decisions is exactly 0 in single precision, and has no ranks.
        fitness[shown] = criterion.direction * F.cross_entropy(scores.double(), labels, reduction="none")
        success[shown] = criterion.success(scores, labels)
    spread = torch.full((len(viewpoints), scores.shape[1]), torch.nan)
    spread[shown] = scores
    return Judged(spread, fitness, success, blank, finite)


def search_viewpoints(
    look: Look,
    score: Score,
    *,
    label: int,
    criterion: Criterion,
    settings: SearchSettings,
    rng: Randomness,
    start: ViewpointMixture | None = None,
    iterations: int | None = None,
) -> FoundViewpoints:
    """Move a mixture of viewpoints towards those that meet a criterion.

    Args:
        look: renders and prepares one object; called once in every step of at most :data:`AT_ONCE` views.
        score: the classifier, called forward only.
        label: class of the object, or the target.
        criterion: what counts, and in which direction.
        settings: numbers of the search.
        rng: bound to one example, the object.
        start: go on from this mixture, means *and* deviations; None starts anew. Under parity deviations begin anew.
        iterations: instead of the settings' own.
    """
    if start is None:
        start = first_mixture(
            settings.components,
            deviation=settings.start_deviation,
            spread=settings.start_spread,
            rng=rng.child("start"),
            factorised=settings.parity,
        )
    elif settings.parity:
        start = replace(start, deviations=torch.full_like(start.deviations, settings.start_deviation))
    state, renders, blanks = started(start), 0, 0
    ended: Ended = "ran"
    for _ in range(settings.iterations if iterations is None else iterations):
        candidates = ask(state, settings.popsize, rng.child("step", state.iteration))
        judged = judge(look, score, viewpoints_of(candidates.unbounded), label=label, criterion=criterion)
        renders, blanks = renders + len(judged.blank), blanks + int(judged.blank.sum())
        if not judged.finite or bool(judged.blank.all()):
            ended = "blank" if judged.finite else "not finite"
            break
        if settings.stop_when_fooled and bool((judged.success | judged.blank).all()):
            ended = "fooled"
            break
        state = tell(state, candidates, judged.fitness, settings)
    return FoundViewpoints(state.mixture, state.iteration, renders, blanks, ended)
