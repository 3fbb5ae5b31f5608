"""DeepFool: steps to the nearest decision hyperplane of the classifier made linear at the current point.

Moosavi-Dezfooli, Fawzi and Frossard, "DeepFool: a simple and accurate method to fool deep neural networks", CVPR 2016,
arXiv 1511.04599, algorithm 2. Of the hyperplanes between the label and k other classes the nearest is chosen, at
distance |f| / ‖w‖_q with q dual to the norm; the step goes there along the dual direction, with an overshoot so that it
crosses.
"""

from __future__ import annotations

from typing import ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from snellen.core.method import Need
from snellen.core.outcomes import Attacked
from snellen.core.randomness import Randomness
from snellen.methods.attacks.norms import Norm, ball, refuse_levels, uphill
from snellen.methods.attacks.perturbation import Search
from snellen.methods.attacks.perturbation.contested_classes import (
    classes_to_lower,
    classes_to_raise,
    refuse_without_pairs,
)
from snellen.methods.attacks.perturbation.objectives import targeted_margin
from snellen.methods.attacks.perturbation.projections import Projection
from snellen.methods.attacks.search_attack import SearchAttack


class DeepFool(SearchAttack):
    """A small change that alters the decision, by steps to the nearest hyperplane; an image leaves when it crosses.

    The change is scaled by 1 + overshoot and cut to [0, 1]. With ``epsilon``, a crossing counts within it alone:
    DeepFool seeks a small change and none of a given size, so a failure says less than one of PGD. A step costs two
    queries, and a gradient for each of the other classes.

    >>> from torch import nn
    >>> from snellen.core.classifier import Classifier
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 2))
    >>> classifier = Classifier(model, class_names=["a", "b"])
    >>> images = torch.full((1, 3, 4, 4), 0.5)
    >>> scores, weight = classifier(images)[0], model[1].weight[0] - model[1].weight[1]
    >>> attacked = DeepFool(norm="l2").attack(classifier, images, classifier(images).argmax(1))
    >>> smallest = (scores[0] - scores[1]).abs() / weight.norm()
    >>> bool((attacked.distance[0] / smallest - 1.02).abs() < 0.001)
    True
    """

    name: ClassVar[str] = "deepfool"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels", "gradients"})

    epsilon: float | None = Field(
        None, ge=0, description="largest change that counts, in [0, 1] pixel units of the norm; by default any"
    )
    norm: Norm = Field("linf", description="norm of the change; published: l2")
    steps: int = Field(50, ge=1, description="steps to a hyperplane")
    target_classes: int = Field(9, ge=1, description="other classes whose hyperplanes are compared, at most all")
    overshoot: float = Field(0.02, ge=0, description="how far beyond the hyperplane the change goes, as a share of it")

    @model_validator(mode="after")
    def _epsilon_is_in_pixel_units(self) -> Self:
        refuse_levels(self.norm, self.epsilon)
        return self

    def _allowed(self) -> Projection:
        return ball(self.norm, torch.inf if self.epsilon is None else self.epsilon)

    def _search(self, search: Search, rng: Randomness) -> Attacked:
        refuse_without_pairs(search.classifier, self.name)
        search.judge_clean()
        targets = classes_to_raise(search.scores, search.labels, search.criterion, self.target_classes)
        positions = search.open_positions()
        change = torch.zeros_like(search.images[positions])
        for _ in range(self.steps):
            if not len(positions):
                break
            points = (search.images[positions] + (1 + self.overshoot) * change).clamp(0, 1)
            step, lost = self._nearest(search, points, positions, targets)
            change = change + step
            moved = (search.images[positions] + (1 + self.overshoot) * change).clamp(0, 1)
            scores, _, finite = search.ask(moved, positions)
            done = search.record(positions, moved, scores, finite) | lost
            search.not_finite[positions] |= ~finite | lost
            # A crossing beyond epsilon ends the search as well: further steps would only come back to the hyperplane.
            done |= search.criterion.success(scores, search.labels[positions])
            left = (~done).nonzero().flatten()
            positions, change = positions[left], change[left]
        return search.result()

    def _nearest(self, search: Search, points: Tensor, positions: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The step to the nearest hyperplane (m, 3, h, w), and whose gradients are not finite: bool (m,)."""
        best = torch.full((len(points),), torch.inf, device=points.device, dtype=points.dtype)
        step, lost = torch.zeros_like(points), torch.zeros_like(best, dtype=torch.bool)
        search.stepped[positions] = True
        with torch.enable_grad():
            variables = points.detach().requires_grad_(True)
            scores, _, finite = search.ask(variables, positions)
            lowered = classes_to_lower(scores.detach(), search.labels[positions], search.criterion)
            # How far each class to raise still is from the class that stands in its way; negative until it is reached.
            gaps = [targeted_margin(scores, lowered, target[positions]) for target in targets.T]
        lost |= ~finite
        for values in gaps:
            (gradient,) = torch.autograd.grad(values, variables, torch.ones_like(values), retain_graph=True)
            search.gradients[positions] += 1
            flat = gradient.flatten(1)
            lost |= ~flat.isfinite().all(1) | ~values.detach().isfinite()
            dual = flat.abs().sum(1) if self.norm == "linf" else flat.norm(dim=1)
            search.sloped[positions] |= dual > 0
            distance = torch.where(dual > 0, values.detach().abs() / dual.clamp(min=1e-12), torch.inf)
            nearer = distance < best
            best = torch.where(nearer, distance, best)
            # A little more than the distance, so that a point on the hyperplane itself moves on.
            towards = uphill(self.norm, gradient) * (distance + 1e-6).view(-1, 1, 1, 1)
            step = torch.where((nearer & (dual > 0)).view(-1, 1, 1, 1), towards, step)
        return torch.where(lost.view(-1, 1, 1, 1), torch.zeros_like(step), step), lost
