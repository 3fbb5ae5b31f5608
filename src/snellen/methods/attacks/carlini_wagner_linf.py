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

from snellen.core.classifier import Classifier
from snellen.core.criterion import Criterion, Misclassified
from snellen.core.method import Method, Need
from snellen.core.outcomes import Attacked
from snellen.core.randomness import Randomness
from snellen.methods.attacks.perturbation import LinfBall, TanhSpace, perturb
from snellen.methods.attacks.perturbation.adam_step import AdamStep
from snellen.methods.attacks.perturbation.confidence import Confident, asked_confidence
from snellen.methods.attacks.perturbation.given_start import GivenStart
from snellen.methods.attacks.perturbation.inputs import checked_inputs
from snellen.methods.attacks.perturbation.penalty_search import penalised, rows
from snellen.methods.attacks.perturbation.search import Search
from snellen.methods.attacks.perturbation.stopping import Stalled
from snellen.methods.attacks.refusals import refuse_labels, refuse_probabilities


class CarliniWagnerLinf(Method):
    """A small largest change of any value that fools the classifier, by a penalty on changes above a shrinking limit.

    Each search of an image ends with its first success inside the limit, as in the authors' code. ``abort_early`` is
    not theirs for this norm: it ends a search whose loss no longer falls.

    >>> from torch import nn
    >>> _ = torch.manual_seed(0)
    >>> classifier = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), class_names=["a", "b"])
    >>> images = torch.rand(4, 3, 4, 4)
    >>> labels = classifier(images).argmax(1)
    >>> CarliniWagnerLinf(learning_rate=0.05).attack(classifier, images, labels).success.tolist()
    [True, True, True, True]
    """

    name: ClassVar[str] = "carlini_wagner_linf"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels", "gradients", "scores"})
    finds: ClassVar[tuple[str, ...]] = ("adversarial",)

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

    def attack(
        self,
        classifier: Classifier,
        images: Tensor,
        labels: Tensor,
        *,
        criterion: Criterion | None = None,
        rng: Randomness | None = None,
    ) -> Attacked:
        """Attack prepared images (n, 3, h, w) in [0, 1]; distances are the largest change of a value.

        Raises:
            UnsupportedError: the classifier gives no gradients, or labels only.
            InputError: the classifier gives probabilities.
        """
        refuse_labels(classifier, self.name)
        criterion = criterion or Misclassified()
        goal = Confident(criterion, asked_confidence(criterion, self.confidence))
        with torch.inference_mode(False), torch.no_grad():
            images, labels = checked_inputs(classifier, images, labels)
            rng = (rng or Randomness(0)).child("carlini-wagner-linf").bind(len(images))
            weights = torch.full((len(images),), self.first_weight, dtype=torch.float64, device=images.device)
            limits = torch.ones_like(weights)
            search = Search(
                classifier, images, labels, criterion=goal, projection=LinfBall(1.0), keep="closest",
                evaluate=penalised(classifier, None, weights, goal=goal),
            )  # fmt: skip
            search.judge_clean()
            refuse_probabilities(search.scores, classifier, self.name)
            wanting = search.open_positions()
            while len(wanting):
                reached = self._search(search, wanting, weights[wanting], limits[wanting], rng[wanting])
                nearest = torch.minimum(limits[wanting], search.distance[wanting].double())
                limits[wanting] = torch.where(reached, self.shrink * nearest, limits[wanting])
                weights[wanting] *= torch.where(reached, 1.0, self.weight_factor)
                going_on = (limits >= self.smallest_limit) & (weights <= self.largest_weight) & ~search.not_finite
                wanting = wanting[going_on[wanting]]
            return search.result()

    def _search(self, search: Search, positions: Tensor, weights: Tensor, limits: Tensor, rng: Randomness) -> Tensor:
        """One search at fixed weights and limits (m,), absorbed; returns who got inside its limit: bool (m,)."""
        clean, goal = search.images[positions], search.criterion
        assert isinstance(goal, Confident)
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
