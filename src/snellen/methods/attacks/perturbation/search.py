"""The account of one attack on a batch: what was tried, what was kept, and what it cost, for every image.

Every search keeps it, the loop under the gradient attacks and the small loops of those that do not fit it. Hence all
of them mean the same by success, by a failure (the *clean* image) and by a count. One image whose scores are not finite
ends its own search, never that of its neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.criterion import Criterion, Misclassified
from snellen.core.errors import NotFiniteError, UnsupportedError
from snellen.core.outcomes import Attacked
from snellen.core.randomness import Randomness
from snellen.methods.attacks.perturbation.inputs import checked_inputs, gives_maps
from snellen.methods.attacks.perturbation.objectives import Evaluation, calls_per_candidate, no_objective, on_scores
from snellen.methods.attacks.perturbation.projections import Projection

#: first: an image leaves with its first success. closest: all steps are taken, the nearest success is kept. last: all
#: steps are taken and every image returns its last iterate, successful or not (the inner maximisation of adversarial
#: training; the only choice under which a failed image is not the clean one, and a distance or score not of a success).
Keep = Literal["first", "closest", "last"]


class Search:
    """The state of one call: best candidate, success, distance and counts of every image.

    Args:
        classifier: the model under attack.
        images: checked images (n, 3, h, w), see :func:`snellen.methods.attacks.perturbation.inputs.checked_inputs`.
        labels: checked labels (n,) or (n, k); maps (n, h, w) or (n, k, h, w).
        criterion: what counts as success.
        projection: where a success must lie, and the norm of the distance.
        keep: which candidate of an image is kept.
        evaluate: gives scores and values to climb; by default scores alone. An attack with several objectives sets it
            anew before each.
    """

    def __init__(
        self,
        classifier: Classifier,
        images: Tensor,
        labels: Tensor,
        *,
        criterion: Criterion,
        projection: Projection,
        keep: Keep = "first",
        evaluate: Evaluation | None = None,
    ) -> None:
        self.classifier, self.images, self.labels = classifier, images, labels
        self.criterion, self.projection, self.keep = criterion, projection, keep
        self.evaluate = evaluate or on_scores(classifier, no_objective)
        count = len(images)
        self.has_seen = False
        self.best = images.clone()
        map_size = labels.shape[-2:] if gives_maps(classifier) else ()
        self.scores = images.new_full((count, len(classifier.class_names), *map_size), torch.nan)
        self.success = torch.zeros(count, dtype=torch.bool, device=images.device)
        self.already = torch.zeros_like(self.success)
        self.not_finite = torch.zeros_like(self.success)
        self.stepped = torch.zeros_like(self.success)
        self.sloped = torch.zeros_like(self.success)
        self.distance = images.new_zeros(count)
        self.queries = torch.zeros(count, dtype=torch.int64, device=images.device)
        self.gradients = torch.zeros_like(self.queries)

    def open_positions(self) -> Tensor:
        """Images that still want a search: positions in the batch, int64 (m,)."""
        return (~(self.success | self.not_finite)).nonzero().flatten()

    def judge_clean(self) -> None:
        """Score the clean images first: those that meet the criterion already need no search."""
        if len(self.images):
            everyone = torch.arange(len(self.images), device=self.images.device)
            scores, values = self.evaluate(self.images, self.labels, everyone)
            self.judge(self.images, everyone, scores, values, clean=True)

    def look(self, candidates: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Evaluate candidates once, judge and keep them: values to climb, and which images are done, (m,) each.

        Args:
            candidates: (m, 3, h, w) in [0, 1].
            positions: which images of the batch they are candidates of, each at most once.

        Raises:
            NotFiniteError: at the first look, no image of the batch has finite scores and a finite objective.
        """
        scores, values = self.evaluate(candidates, self.labels[positions], positions)
        return values, self.judge(candidates, positions, scores, values)

    def ask(self, candidates: Tensor, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Evaluate candidates once: scores (m, k), values to climb (m,), and where both are finite, bool (m,)."""
        scores, values = self.evaluate(candidates, self.labels[positions], positions)
        return scores, values, self._count(positions, scores, values)

    def judge(
        self, candidates: Tensor, positions: Tensor, scores: Tensor, values: Tensor, *, clean: bool = False
    ) -> Tensor:
        """Count, judge and keep candidates that were evaluated; returns which images are done: bool (m,).

        ``clean``: the candidates are the clean images themselves.
        """
        finite = self._count(positions, scores, values)
        return self.record(positions, candidates.detach(), scores.detach(), finite, clean=clean)

    def _count(self, positions: Tensor, scores: Tensor, values: Tensor) -> Tensor:
        """Count one evaluation; returns where its scores and values are finite: bool (m,)."""
        self.queries[positions] += calls_per_candidate(self.evaluate)
        # NaN compares as success with every label but one.
        finite = scores.detach().isfinite().flatten(1).all(1) & values.detach().isfinite()
        if not self.has_seen and not bool(finite.any()):
            raise NotFiniteError(
                f"{self.classifier.name} gave scores or an attack objective that are not finite (NaN or infinity) for "
                f"all {len(finite)} images inside the attack; attack a numerically stable model, in float32"
            )
        self.has_seen = True
        return finite

    def record(
        self, positions: Tensor, candidates: Tensor, scores: Tensor, finite: Tensor, *, clean: bool = False
    ) -> Tensor:
        """Judge candidates and keep what is worth keeping; returns which images are done: bool (len(positions),)."""
        met = finite & self.criterion.success(scores, self.labels[positions])
        if clean:
            # The clean image itself is remembered already, at distance 0; a space may decode it with a rounding error.
            self.scores[positions], self.success[positions] = scores.to(self.scores.dtype), met
            if self.keep != "last":
                self.already[positions] = met
        else:
            worth = (finite if self.keep == "last" else met).nonzero().flatten()
            if len(worth):
                met[worth] = self._keep(positions[worth], _rows(candidates, worth), _rows(scores, worth), met[worth])
        self.not_finite[positions] |= ~finite
        if self.keep == "last":
            return ~finite
        return ~finite | (met if self.keep == "first" else self.already[positions])

    def differentiate(self, values: Tensor, variables: Tensor, positions: Tensor) -> Tensor:
        """Gradient (m, ...) of the summed values (m,) with respect to variables (m, ...); one gradient an image."""
        (gradient,) = torch.autograd.grad(values.sum(), variables)
        self.gradients[positions] += calls_per_candidate(self.evaluate)
        return gradient

    def charge(self, positions: Tensor, part: Attacked) -> None:
        """Take over what another attack spent on some of the images, and how it ended where scores were not finite."""
        self.has_seen = True
        self.queries[positions] += part.queries
        self.gradients[positions] += part.gradients
        self.stepped[positions] |= part.gradients > 0
        self.sloped[positions] |= (part.gradients > 0) & ~part.zero_gradient
        lost = torch.tensor([status == "not finite" for status in part.status], device=positions.device)
        self.not_finite[positions] |= lost.bool()

    def absorb(self, positions: Tensor, part: Attacked) -> Tensor:
        """Take over the result of another attack on some of the images; returns which of them it broke: bool (m,).

        An image that the other attack calls ``not finite`` keeps that status.
        """
        self.charge(positions, part)
        new = part.success & ~self.success[positions]
        if self.keep == "closest":
            new |= part.success & (part.distance < self.distance[positions])
        chosen = positions[new]
        self.best[chosen], self.distance[chosen] = part.images[new], part.distance[new]
        self.scores[chosen], self.success[chosen] = part.scores[new], True
        return new

    def result(self) -> Attacked:
        """Pack up. A success that was kept stays one."""
        flags = zip(self.already.tolist(), self.success.tolist(), self.not_finite.tolist(), strict=True)
        return Attacked(
            images=self.best,
            success=self.success,
            distance=self.distance,
            queries=self.queries,
            gradients=self.gradients,
            scores=self.scores,
            status=tuple(
                "already" if already else "found" if found else "not finite" if not_finite else "not found"
                for already, found, not_finite in flags
            ),
            zero_gradient=self.stepped & ~self.sloped,
        )

    def _keep(self, positions: Tensor, candidates: Tensor, scores: Tensor, met: Tensor) -> Tensor:
        """Remember candidates; under ``closest`` only those that are nearer than what is remembered.

        Returns which of those that met the criterion lie where a success must lie: bool (len(positions),).
        """
        clean = self.images[positions]
        met = met & self.projection.contains(candidates, clean)
        distance = self.projection.distance(candidates, clean)
        if self.keep == "last":
            chosen, success = torch.arange(len(met), device=met.device), met
        else:
            nearer = ~self.success[positions] | (distance < self.distance[positions])
            chosen = (met & nearer if self.keep == "closest" else met).nonzero().flatten()
            success = torch.ones_like(chosen, dtype=torch.bool)
        positions = positions[chosen]
        self.best[positions] = _rows(candidates, chosen)
        self.distance[positions] = distance[chosen].to(self.distance.dtype)
        self.scores[positions] = scores[chosen].to(self.scores.dtype)
        self.success[positions] = success
        return met


def _rows(values: Tensor, chosen: Tensor) -> Tensor:
    """Rows at rising positions without repeats; no copy while they are all of them."""
    return values if len(chosen) == len(values) else values[chosen]


@contextmanager
def start_search(
    classifier: Classifier,
    images: Tensor,
    labels: Tensor,
    *,
    projection: Projection,
    criterion: Criterion | None = None,
    rng: Randomness | None = None,
    keep: Keep = "first",
    evaluate: Evaluation | None = None,
) -> Iterator[tuple[Search, Randomness]]:
    """The beginning of every attack: the account of a search, and randomness bound to the images.

    The caller's grad mode is not ours: gradients are taken in a few places only, and there they must work.

    Args:
        classifier: the model under attack.
        images: see :func:`snellen.methods.attacks.perturbation.inputs.checked_inputs`.
        labels: see there.
        projection: see :class:`Search`, as for ``keep`` and ``evaluate``.
        criterion: what counts as success, by default misclassification.
        rng: by default that of seed 0.
        keep: which candidate of an image is kept.
        evaluate: gives scores and values to climb.

    Raises:
        InputError: no classifier, or images or labels that do not fit.
        UnsupportedError: the classifier gives maps, and the search does not keep its last iterates.
    """
    with torch.inference_mode(False), torch.no_grad():
        if isinstance(classifier, Classifier) and gives_maps(classifier) and keep != "last":
            raise UnsupportedError(
                f"this attack is one on classifiers, and {classifier.name} decides each pixel; attack it with fgsm, "
                f"pgd, segpgd, cospgd or square"
            )
        images, labels = checked_inputs(classifier, images, labels)
        search = Search(
            classifier,
            images,
            labels,
            criterion=criterion or Misclassified(),
            projection=projection,
            keep=keep,
            evaluate=evaluate,
        )
        yield search, (rng or Randomness(0)).bind(len(images))
