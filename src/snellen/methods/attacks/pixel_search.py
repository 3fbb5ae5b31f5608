"""Attacks on models that decide each pixel: the usual loop, and how the losses of the pixels make one number.

Models are classifiers of task ``segment`` (scores (n, k, h, w), labels (n, h, w), −1 where a pixel is not counted) or
``score`` (maps of values (n, k, h, w) with targets of that shape: restoration, disparity, depth). An image rarely
fails as a whole, so every search keeps its last iterate; of several restarts, the one that does most harm.

Weights of pixels: J. Gu, H. Zhao, V. Tresp and P. Torr, "SegPGD", ECCV 2022, arXiv 2207.12391, eq. 4 and 5;
S. Agnihotri, S. Jung and M. Keuper, "CosPGD", ICML 2024, arXiv 2302.02213, eq. 4 to 7.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.criterion import (
    VOID,
    Criterion,
    Margin,
    Misclassified,
    MultilabelChanged,
    PixelsMisclassified,
    PixelsTargeted,
    Targeted,
    ValuesFarOff,
)
from snellen.core.errors import InputError, ModelError
from snellen.core.randomness import Randomness
from snellen.methods.attacks.perturbation.loop import ascend
from snellen.methods.attacks.perturbation.search import Search
from snellen.methods.attacks.perturbation.steps import StepRule

#: (scores (n, k, h, w), labels (n, h, w) or targets (n, k, h, w), share of the steps that are done in [0, 1], whether
#: labels are targets to reach) → weights of the pixels, without gradient, broadcastable to (n, h, w).
Weighing = Callable[[Tensor, Tensor, float, bool], Tensor]


def default_criterion(classifier: Classifier) -> Criterion:
    """What ends a search early: every pixel is wrong; of values, nothing does."""
    return PixelsMisclassified(1.0) if classifier.task == "segment" else ValuesFarOff()


#: Criteria by what they are made for; one of a user's own is taken as it is.
_OF_TASK: dict[str, tuple[type[Criterion], ...]] = {
    "segment": (PixelsMisclassified, PixelsTargeted),
    "score": (ValuesFarOff,),
}
_OF_CLASSIFIERS: tuple[type[Criterion], ...] = (Misclassified, Targeted, Margin, MultilabelChanged)


def refuse_criterion(classifier: Classifier, criterion: Criterion | None) -> None:
    """Refuse one of Snellen's criteria on a model that gives something else than it judges.

    Raises:
        InputError: naming those that fit.
    """
    fitting = _OF_TASK.get(classifier.task, _OF_CLASSIFIERS)
    others = {*_OF_CLASSIFIERS, *_OF_TASK["segment"], *_OF_TASK["score"]} - set(fitting)
    if type(criterion) in others:
        gives = {"segment": "decides each pixel", "score": "gives maps of values"}.get(
            classifier.task, "decides once for an image"
        )
        raise InputError(
            f"the criterion {type(criterion).__name__} does not fit {classifier.name}, which {gives}; use "
            f"{' or '.join(one.__name__ for one in fitting)}"
        )


def pixel_losses(scores: Tensor, labels: Tensor) -> Tensor:
    """Loss of each pixel, without any mean: (n, k, h, w), labels (n, h, w) or targets (n, k, h, w) → (n, h, w).

    Cross-entropy of classes, 0 at void pixels; squared error of values, averaged over their channels. Values are not
    clamped first: a clamp has no gradient where an output is saturated.
    """
    if labels.is_floating_point():
        return (scores - labels).square().mean(1)
    return F.cross_entropy(scores, labels, reduction="none", ignore_index=VOID)


def evenly(scores: Tensor, labels: Tensor, done: float, targeted: bool) -> Tensor:
    """The same weight for all pixels: FGSM and PGD."""
    return scores.new_ones(())


def by_decision(scores: Tensor, labels: Tensor, done: float, targeted: bool) -> Tensor:
    """SegPGD: 1 − λ where a pixel is still right and λ where it is wrong already, λ = done / 2; (n, h, w).

    For targets the roles change: pixels that have not reached theirs weigh 1 − λ.

    >>> scores, labels = torch.eye(2).view(1, 2, 1, 2), torch.tensor([[[0, 0]]])
    >>> by_decision(scores, labels, 0.5, False).tolist()
    [[[0.75, 0.25]]]
    """
    agrees = scores.detach().argmax(1) == labels
    share = done / 2
    return torch.where(agrees != targeted, 1 - share, share).to(scores.dtype)


def by_alignment(scores: Tensor, labels: Tensor, done: float, targeted: bool) -> Tensor:
    """CosPGD: cosine over the channels between softmax(scores) and the one-hot label, or softmax(values) of targets.

    For targets to reach, 1 − cosine; (n, h, w).

    >>> confident = torch.tensor([50.0, 0.0]).view(1, 2, 1, 1)
    >>> [round(by_alignment(confident, torch.tensor([[[label]]]), 0, False).item(), 6) for label in (0, 1)]
    [1.0, 0.0]
    """
    scores = scores.detach()
    if labels.is_floating_point():
        truth = labels.softmax(1)
    else:
        truth = F.one_hot(labels.clamp(min=0), scores.shape[1]).movedim(-1, 1).to(scores.dtype)
    cosine = F.cosine_similarity(scores.softmax(1), truth, dim=1)
    return 1 - cosine if targeted else cosine


class OnPixels:
    """An evaluation: scores, and for each image the weighted mean of its pixels' losses. One object for each start.

    Args:
        classifier: of task segment or score.
        weigh: weights of the pixels.
        steps: of the search, for the share that is done.
        criterion: an image that meets it ends its search, see :meth:`stop`.
    """

    def __init__(self, classifier: Classifier, weigh: Weighing, *, steps: int, criterion: Criterion) -> None:
        self.classifier, self.weigh, self.steps, self.criterion = classifier, weigh, steps, criterion
        self.looks = 0
        self.met = torch.zeros(0, dtype=torch.bool)

    def __call__(self, candidates: Tensor, labels: Tensor, _positions: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (n, k, h, w) and values (n,)."""
        scores = self.classifier(candidates)
        if scores.ndim != 4 or scores.shape[2:] != labels.shape[-2:]:
            raise ModelError(
                f"{self.classifier.name} gives scores {tuple(scores.shape)} for maps of labels "
                f"{tuple(labels.shape[-2:])}; expected scores (n, k, h, w) of that height and width: resize the scores "
                f"inside the model"
            )
        losses = pixel_losses(scores, labels)
        weights = self.weigh(scores, labels, min(self.looks / self.steps, 1.0), self.criterion.direction < 0)
        self.looks += 1
        self.met = self.criterion.success(scores.detach(), labels)
        count = losses[0].numel() if labels.is_floating_point() else (labels != VOID).flatten(1).sum(1).clamp(min=1)
        return scores, (losses * weights).flatten(1).sum(1) / count

    def stop(self, values: Tensor, positions: Tensor, iteration: int) -> Tensor:
        """Images whose current candidate meets the criterion: the search of these ends."""
        return self.met


def harm(scores: Tensor, labels: Tensor) -> Tensor:
    """Share of wrong pixels, or mean squared error: float64 (n,), larger is worse; NaN where scores are not finite."""
    if labels.is_floating_point():
        found = (scores - labels).square().flatten(1).mean(1)
    else:
        known = labels != VOID
        wrong = (scores.argmax(1) != labels) & known
        found = wrong.flatten(1).sum(1) / known.flatten(1).sum(1).clamp(min=1)
    return torch.where(scores.flatten(1).isfinite().all(1), found.double(), torch.nan)


def search_pixels(
    search: Search,
    rng: Randomness,
    *,
    weigh: Weighing,
    step_rule: StepRule,
    steps: int,
    random_start: bool,
    restarts: int = 1,
) -> None:
    """Run the loop on every pixel's loss; of several restarts, each image keeps the iterate that does most harm.

    Args:
        search: the account, which keeps last iterates.
        rng: bound to the images.
        weigh: weights of the pixels.
        step_rule: how images move.
        steps: of each restart.
        random_start: start from a random point of the ball.
        restarts: independent starts; images that meet the criterion leave.
    """
    for restart in range(restarts):
        before = kept_by(search)
        evaluation = OnPixels(search.classifier, weigh, steps=steps, criterion=search.criterion)
        search.evaluate = evaluation
        start = rng.child("restart", restart)
        ascend(search, start, step_rule=step_rule, steps=steps, random_start=random_start, stop=evaluation.stop)
        if restart:
            keep_worse(search, before)


def keep_best(
    search: Search, candidates: Tensor, positions: Tensor, highest: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Evaluate candidates once and keep those that do more than all before, or that meet the criterion.

    Returns values to climb, and which images are done, (m,) each: the criterion is met, or scores are not finite.

    Args:
        search: the account, which keeps last iterates and evaluates by :class:`OnPixels`.
        candidates: (m, 3, h, w) in [0, 1].
        positions: of their images.
        highest: best values so far, times the direction of the criterion; by default nothing was seen yet.
    """
    scores, values, finite = search.ask(candidates, positions)
    met = finite & search.criterion.success(scores, search.labels[positions])
    better = finite if highest is None else finite & (search.criterion.direction * values > highest)
    worth = better | met
    search.record(positions[worth], candidates[worth], scores[worth].detach(), finite[worth])
    search.not_finite[positions] |= ~finite
    return values, met | ~finite


def kept_by(search: Search) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What a search keeps of each image before another restart: iterate, scores, distance, success."""
    return search.best.clone(), search.scores.clone(), search.distance.clone(), search.success.clone()


def keep_worse(search: Search, before: tuple[Tensor, Tensor, Tensor, Tensor]) -> None:
    """Go back to an earlier iterate where it does more harm than the present one, or comes nearer to its targets."""
    direction = search.criterion.direction
    worse = direction * harm(before[1], search.labels) > direction * harm(search.scores, search.labels)
    search.best[worse], search.scores[worse] = before[0][worse], before[1][worse]
    search.distance[worse], search.success[worse] = before[2][worse], before[3][worse]
