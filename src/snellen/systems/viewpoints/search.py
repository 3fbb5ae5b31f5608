"""The search itself: from a mixture to one whose viewpoints fool a classifier, by queries alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.criterion import Criterion
from snellen.core.randomness import Randomness
from snellen.data.worlds.viewpoints import viewpoints_of
from snellen.systems.viewpoints.mixture import ViewpointMixture, first_mixture
from snellen.systems.viewpoints.population import ask, started, tell
from snellen.systems.viewpoints.settings import SearchSettings
from snellen.systems.viewpoints.views import Look

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
        ended: ``ran`` all steps, or ended early: ``fooled`` (every view of a step succeeded, where that was asked for),
            ``blank`` (no view of a step showed the object), ``not finite`` (scores were NaN or infinite).
    """

    mixture: ViewpointMixture
    iterations: int
    renders: int
    blanks: int
    ended: Ended


@dataclass(frozen=True, eq=False)
class Judged:
    """Views and what a classifier says of them.

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
    """A classifier as a search asks it: prepared images from wherever, on its own device."""

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
