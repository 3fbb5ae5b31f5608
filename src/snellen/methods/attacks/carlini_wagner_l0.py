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

from snellen.core.in_float64 import widest
from snellen.core.method import Need
from snellen.core.outcomes import Attacked
from snellen.core.randomness import Randomness
from snellen.methods.attacks.perturbation import Search, TanhSpace, perturb
from snellen.methods.attacks.perturbation.penalty_search import Confident, gap, penalised, rows, squared_length
from snellen.methods.attacks.perturbation.pixel_count import FrozenPixels, PixelCount
from snellen.methods.attacks.perturbation.projections import GivenStart, Projection
from snellen.methods.attacks.perturbation.steps import AdamStep
from snellen.methods.attacks.perturbation.stopping import Stalled
from snellen.methods.attacks.reliability import refuse_probabilities
from snellen.methods.attacks.search_attack import SearchAttack


class CarliniWagnerL0(SearchAttack):
    """Few changed pixels that fool the classifier: the least important ones are given back until nothing is left.

    In a round, a search ends with its first success. Then every pixel that it left alone is frozen, and of those that
    it changed the ``share`` · √changed least important ones, at least one (the rule of the authors' code; the paper
    freezes one at a time). ``abort_early`` is not theirs for this norm: it ends a search whose loss no longer falls.
    Distances are numbers of changed pixels, at most h·w.

    >>> from torch import nn
    >>> from snellen.core.classifier import Classifier
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

    steps: int = Field(100, ge=1, description="Adam steps of each search; the authors take up to 1,000")
    first_weight: float = Field(1e-3, gt=0, description="weight of the misclassification term in the first search")
    largest_weight: float = Field(1e6, gt=0, description="weight above which an image is finished")
    weight_factor: float = Field(10.0, gt=1, description="factor of the weight after a search that found nothing")
    share: float = Field(0.3, gt=0, description="pixels frozen in a round, in units of the root of the changed ones")
    learning_rate: float = Field(0.01, gt=0, description="Adam's step size, in units of the tanh variable")
    confidence: float = Field(0.0, ge=0, description="score by which another class has to lead (kappa)")
    abort_early: bool = Field(True, description="end the search of an image whose loss no longer falls")

    def _allowed(self) -> Projection:
        return PixelCount()

    def _search(self, search: Search, rng: Randomness) -> Attacked:
        goal = search.criterion = Confident.at_least(search.criterion, self.confidence)
        search.keep = "closest"
        search.judge_clean()
        refuse_probabilities(search.scores, search.classifier, self.name)
        weights = torch.full_like(search.distance, self.first_weight, dtype=widest(search.distance.device))
        frozen = torch.zeros_like(search.images[:, :1], dtype=torch.bool)
        starts = search.images.clone()
        wanting = search.open_positions()
        while len(wanting):
            found, candidates = self._descend(
                search, wanting, goal, starts[wanting], frozen[wanting], weights[wanting], rng[wanting]
            )
            if bool(found.any()):
                solved, solutions = wanting[found], candidates[found]
                met, importance = self._importance(search, solved, goal, solutions)
                starts[solved] = torch.where(met[:, None, None, None], solutions, starts[solved])
                frozen[solved[met]] = self._frozen(importance[met])
                found[found.clone()] = met
            weights[wanting] *= torch.where(found, 1.0, self.weight_factor)
            going_on = (weights <= self.largest_weight) & ~search.not_finite & ~frozen.flatten(1).all(1)
            wanting = wanting[going_on[wanting]]
        return search.result()

    def _descend(
        self,
        search: Search,
        positions: Tensor,
        goal: Confident,
        starts: Tensor,
        frozen: Tensor,
        weights: Tensor,
        rng: Randomness,
    ) -> tuple[Tensor, Tensor]:
        """One search over free pixels: who found something (m,), and the images with frozen pixels clean."""
        clean = search.images[positions]

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
        search.charge(positions, part)
        # A tanh that is undone and done again is off by a rounding error: pixels that were not moved are clean.
        still = (part.images - clean).abs().amax(1, keepdim=True) <= 2e-6
        return part.success, torch.where(frozen | still, clean, part.images)

    def _importance(
        self, search: Search, positions: Tensor, goal: Confident, candidates: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Judge and keep candidates; who met the criterion (m,), and |gradient · change| of each pixel (m, h, w)."""
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
