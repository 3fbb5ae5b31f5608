"""The attack of Carlini and Wagner in the maximum norm.

Carlini and Wagner, "Towards evaluating the robustness of neural networks", IEEE S&P 2017, arXiv 1608.04644, section
VI-C: minimise c · hinge(x') + Σ max(|x'ᵢ − xᵢ| − τ, 0); after each success τ shrinks by a tenth and the next search
starts where the last one ended; after each failure c doubles.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from snellen.core.in_float64 import widest
from snellen.core.method import Need
from snellen.core.outcomes import Attacked
from snellen.core.randomness import Randomness
from snellen.methods.attacks.perturbation import LinfBall, Search, TanhSpace, perturb
from snellen.methods.attacks.perturbation.penalty_search import Confident, penalised, rows
from snellen.methods.attacks.perturbation.projections import GivenStart, Projection
from snellen.methods.attacks.perturbation.steps import AdamStep
from snellen.methods.attacks.perturbation.stopping import Stalled
from snellen.methods.attacks.reliability import refuse_probabilities
from snellen.methods.attacks.search_attack import SearchAttack


class CarliniWagnerLinf(SearchAttack):
    """A small largest change of any value that fools the classifier, by a penalty on changes above a shrinking limit.

    Each search of an image ends with its first success inside the limit, as in the authors' code. ``abort_early`` is
    not theirs for this norm: it ends a search whose loss no longer falls. Distances are the largest change of a value.

    >>> from torch import nn
    >>> from snellen.core.classifier import Classifier
    >>> _ = torch.manual_seed(0)
    >>> classifier = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), class_names=["a", "b"])
    >>> images = torch.rand(4, 3, 4, 4)
    >>> labels = classifier(images).argmax(1)
    >>> quick = CarliniWagnerLinf(learning_rate=0.05, steps=50, weight_factor=10.0, shrink=0.7)
    >>> quick.attack(classifier, images, labels).success.tolist()
    [True, True, True, True]
    """

    name: ClassVar[str] = "carlini_wagner_linf"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels", "gradients", "scores"})

    steps: int = Field(200, ge=1, description="Adam steps of each search; the authors take up to 1,000")
    first_weight: float = Field(1e-5, gt=0, description="weight of the misclassification term in the first search")
    largest_weight: float = Field(20.0, gt=0, description="weight above which an image is given up")
    weight_factor: float = Field(2.0, gt=1, description="factor of the weight after a search that found nothing")
    shrink: float = Field(0.9, gt=0, lt=1, description="factor of the limit on changes after a success (tau)")
    smallest_limit: float = Field(
        1 / 256, ge=1e-6, description="limit on changes, in [0, 1] pixel units, below which an image is finished"
    )
    learning_rate: float = Field(0.005, gt=0, description="Adam's step size, in units of the tanh variable")
    confidence: float = Field(0.0, ge=0, description="score by which another class has to lead (kappa)")
    abort_early: bool = Field(True, description="end the search of an image whose loss no longer falls")

    def _allowed(self) -> Projection:
        return LinfBall(1.0)

    def _search(self, search: Search, rng: Randomness) -> Attacked:
        goal = search.criterion = Confident.at_least(search.criterion, self.confidence)
        search.keep = "closest"
        search.judge_clean()
        refuse_probabilities(search.scores, search.classifier, self.name)
        weights = torch.full_like(search.distance, self.first_weight, dtype=widest(search.distance.device))
        limits = torch.ones_like(weights)
        wanting = search.open_positions()
        while len(wanting):
            reached = self._descend(search, wanting, goal, weights[wanting], limits[wanting], rng[wanting])
            nearest = torch.minimum(limits[wanting], search.distance[wanting].to(limits))
            limits[wanting] = torch.where(reached, self.shrink * nearest, limits[wanting])
            weights[wanting] *= torch.where(reached, 1.0, self.weight_factor)
            going_on = (limits >= self.smallest_limit) & (weights <= self.largest_weight) & ~search.not_finite
            wanting = wanting[going_on[wanting]]
        return search.result()

    def _descend(
        self, search: Search, positions: Tensor, goal: Confident, weights: Tensor, limits: Tensor, rng: Randomness
    ) -> Tensor:
        """One search at fixed weights and limits (m,), absorbed; returns who got inside its limit: bool (m,)."""
        clean = search.images[positions]
        excess_over = limits.to(clean.dtype)[:, None]
        largest = torch.full_like(excess_over[:, 0], torch.inf)

        def excess(candidates: Tensor, chosen: Tensor) -> Tensor:
            change = (candidates - rows(clean, chosen)).abs().flatten(1)
            largest[chosen] = change.detach().amax(1)
            return (change - rows(excess_over, chosen)).clamp(min=0).sum(1)

        climbing = penalised(search.classifier, excess, weights, goal=goal)
        reached = torch.zeros_like(positions, dtype=torch.bool)

        def evaluate(candidates: Tensor, labels: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
            scores, values = climbing(candidates, labels, chosen)
            reached[chosen] |= goal.success(scores.detach(), labels) & (largest[chosen] <= limits[chosen])
            return scores, values

        stalled = Stalled(len(positions), interval=max(self.steps // 10, 1), direction=goal.direction)

        def stop(values: Tensor, chosen: Tensor, iteration: int) -> Tensor:
            return reached[chosen] | stalled(values, chosen, iteration) if self.abort_early else reached[chosen]

        part = perturb(
            search.classifier,
            clean,
            search.labels[positions],
            evaluate=evaluate,
            projection=GivenStart(search.projection, search.best[positions]),
            step_rule=AdamStep(self.learning_rate),
            criterion=goal,
            steps=self.steps,
            rng=rng,
            space=TanhSpace(),
            random_start=True,
            keep="closest",
            stop=stop,
        )
        search.absorb(positions, part)
        return reached & part.success
