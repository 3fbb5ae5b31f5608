"""The attack of Carlini and Wagner on the number of changed pixels.

Carlini and Wagner, "Towards evaluating the robustness of neural networks", IEEE S&P 2017, arXiv 1608.04644, section
VI-B: find an adversarial image in the Euclidean sense, freeze the pixels whose change matters least (gradient × change)
at their clean value, and go on from there until no adversarial image is left.
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
from snellen.methods.attacks.perturbation import TanhSpace, perturb
from snellen.methods.attacks.perturbation.adam_step import AdamStep
from snellen.methods.attacks.perturbation.confidence import Confident, asked_confidence, gap
from snellen.methods.attacks.perturbation.given_start import GivenStart
from snellen.methods.attacks.perturbation.inputs import checked_inputs
from snellen.methods.attacks.perturbation.penalty_search import penalised, rows, squared_length
from snellen.methods.attacks.perturbation.pixel_count import FrozenPixels, PixelCount
from snellen.methods.attacks.perturbation.search import Search
from snellen.methods.attacks.perturbation.stopping import Stalled
from snellen.methods.attacks.refusals import refuse_labels, refuse_probabilities


class CarliniWagnerL0(Method):
    """Few changed pixels that fool the classifier: the least important ones are given back until nothing is left.

    In a round, a search ends with its first success. Then every pixel that it left alone is frozen, and of those that
    it changed the ``share`` · √changed least important ones, at least one (the rule of the authors' code; the paper
    freezes one at a time). ``abort_early`` is not theirs for this norm: it ends a search whose loss no longer falls.

    >>> from torch import nn
    >>> _ = torch.manual_seed(0)
    >>> classifier = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), class_names=["a", "b"])
    >>> images = torch.rand(4, 3, 4, 4)
    >>> labels = classifier(images).argmax(1)
    >>> attacked = CarliniWagnerL0(steps=50).attack(classifier, images, labels)
    >>> bool((attacked.distance < 16).all())
    True
    """

    name: ClassVar[str] = "carlini_wagner_l0"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels", "gradients", "scores"})
    finds: ClassVar[tuple[str, ...]] = ("adversarial",)

    steps: int = Field(100, ge=1, description="Adam steps of each search; the authors take up to 1,000")
    first_weight: float = Field(1e-3, gt=0, description="weight of the misclassification term in the first search")
    largest_weight: float = Field(1e6, gt=0, description="weight above which an image is finished")
    weight_factor: float = Field(10.0, gt=1, description="factor of the weight after a search that found nothing")
    share: float = Field(0.3, gt=0, description="pixels frozen in a round, in units of the root of the changed ones")
    learning_rate: float = Field(0.01, gt=0, description="Adam's step size, in units of the tanh variable")
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
        """Attack prepared images (n, 3, h, w) in [0, 1]; distances are numbers of changed pixels, at most h·w.

        Raises:
            UnsupportedError: the classifier gives no gradients, or labels only.
            InputError: the classifier gives probabilities.
        """
        refuse_labels(classifier, self.name)
        criterion = criterion or Misclassified()
        goal = Confident(criterion, asked_confidence(criterion, self.confidence))
        with torch.inference_mode(False), torch.no_grad():
            images, labels = checked_inputs(classifier, images, labels)
            rng = (rng or Randomness(0)).child("carlini-wagner-l0").bind(len(images))
            weights = torch.full((len(images),), self.first_weight, dtype=torch.float64, device=images.device)
            frozen = torch.zeros_like(images[:, :1], dtype=torch.bool)
            starts = images.clone()
            search = Search(
                classifier, images, labels, criterion=goal, projection=PixelCount(), keep="closest",
                evaluate=penalised(classifier, None, weights, goal=goal),
            )  # fmt: skip
            search.judge_clean()
            refuse_probabilities(search.scores, classifier, self.name)
            wanting = search.open_positions()
            while len(wanting):
                found, candidates = self._search(
                    search, wanting, starts[wanting], frozen[wanting], weights[wanting], rng[wanting]
                )
                if bool(found.any()):
                    solved, solutions = wanting[found], candidates[found]
                    met, importance = self._importance(search, solved, solutions)
                    starts[solved] = torch.where(met[:, None, None, None], solutions, starts[solved])
                    frozen[solved[met]] = self._frozen(importance[met])
                    found[found.clone()] = met
                weights[wanting] *= torch.where(found, 1.0, self.weight_factor)
                going_on = (weights <= self.largest_weight) & ~search.not_finite & ~frozen.flatten(1).all(1)
                wanting = wanting[going_on[wanting]]
            return search.result()

    def _search(
        self, search: Search, positions: Tensor, starts: Tensor, frozen: Tensor, weights: Tensor, rng: Randomness
    ) -> tuple[Tensor, Tensor]:
        """One search over free pixels: who found something (m,), and the images with frozen pixels clean."""
        clean, goal = search.images[positions], search.criterion
        assert isinstance(goal, Confident)

        def size(candidates: Tensor, chosen: Tensor) -> Tensor:
            return squared_length(candidates, rows(clean, chosen))

        stalled = Stalled(len(positions), interval=max(self.steps // 10, 1), direction=goal.direction)
        part = perturb(
            search.classifier,
            clean,
            search.labels[positions],
            evaluate=penalised(search.classifier, size, weights, goal=goal),
            projection=GivenStart(search.projection, torch.where(frozen, clean, starts)),
            step_rule=FrozenPixels(AdamStep(self.learning_rate), frozen),
            criterion=goal,
            steps=self.steps,
            rng=rng,
            space=TanhSpace(),
            random_start=True,
            keep="first",
            stop=stalled if self.abort_early else None,
        )
        lost = torch.tensor([status == "not finite" for status in part.status], device=positions.device)
        search.queries[positions] += part.queries
        search.gradients[positions] += part.gradients
        search.stepped[positions] |= part.gradients > 0
        search.sloped[positions] |= (part.gradients > 0) & ~part.zero_gradient
        search.not_finite[positions] |= lost
        # A tanh that is undone and done again is off by a rounding error: pixels that were not moved are clean.
        still = (part.images - clean).abs().amax(1, keepdim=True) <= 2e-6
        return part.success, torch.where(frozen | still, clean, part.images)

    def _importance(self, search: Search, positions: Tensor, candidates: Tensor) -> tuple[Tensor, Tensor]:
        """Judge and keep candidates; who met the criterion (m,), and |gradient · change| of each pixel (m, h, w)."""
        goal = search.criterion
        assert isinstance(goal, Confident)
        with torch.enable_grad():
            variables = candidates.clone().requires_grad_(True)
            scores, _, finite = search.ask(variables, positions)
            missing = gap(scores, search.labels[positions], goal.criterion)
            gradient = search.differentiate(missing, variables, positions)
        scores = scores.detach()
        search.record(positions, candidates, scores, finite)
        met = finite & goal.success(scores, search.labels[positions])
        return met, (gradient * (candidates - search.images[positions])).abs().sum(1)

    def _frozen(self, importance: Tensor) -> Tensor:
        """Pixels to leave alone from now on: importance (m, h, w), 0 where nothing changed → bool (m, 1, h, w)."""
        flat = importance.flatten(1)
        changed = (flat > 0).sum(1, keepdim=True)
        more = (self.share * changed.sqrt()).floor().clamp(min=1)
        # Ranks from the least important one; ties by place.
        ranks = flat.argsort(dim=1, stable=True).argsort(dim=1)
        return (ranks < flat.shape[1] - changed + more).view_as(importance)[:, None]
