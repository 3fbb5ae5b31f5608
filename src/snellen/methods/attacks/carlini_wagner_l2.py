"""The attack of Carlini and Wagner in the Euclidean norm.

Carlini and Wagner, "Towards evaluating the robustness of neural networks", IEEE S&P 2017, arXiv 1608.04644, section V
(f6 on logits, change of variable by tanh) and VI-A: minimise ‖x' − x‖² + c · max(margin(x'), −κ) by Adam, and search c
by bisection for each image.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from snellen.core.method import Need
from snellen.core.outcomes import Attacked
from snellen.core.randomness import Randomness
from snellen.methods.attacks.perturbation import Search, TanhSpace, perturb
from snellen.methods.attacks.perturbation.penalty_search import Confident, Weights, penalised, rows, squared_length
from snellen.methods.attacks.perturbation.projections import GivenStart, Projection, WholeBox
from snellen.methods.attacks.perturbation.steps import AdamStep
from snellen.methods.attacks.perturbation.stopping import Stalled
from snellen.methods.attacks.reliability import refuse_probabilities
from snellen.methods.attacks.search_attack import SearchAttack

#: The upper bound of the weight before any search has succeeded.
LARGEST_WEIGHT = 1e10


class CarliniWagnerL2(SearchAttack):
    """The smallest Euclidean change that fools the classifier, by Adam on logits, without a bound on its size.

    Of all steps of all searches the nearest success is kept. ``abort_early`` is the authors' rule, applied to each
    image on its own: a search whose loss has not fallen below 99.99 % of what it was a tenth of the steps ago ends.
    Their code applies it to the sum over a batch, so that its results depend on the batch; ours do not. Distances are
    Euclidean. An image costs at most ``(searches + 1) · (steps + 1) + 1`` queries, one more a search with
    ``warm_start``.

    >>> import torch
    >>> from torch import nn
    >>> from snellen.core.classifier import Classifier
    >>> _ = torch.manual_seed(0)
    >>> classifier = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), class_names=["a", "b"])
    >>> images = torch.rand(4, 3, 4, 4)
    >>> labels = classifier(images).argmax(1)
    >>> attacked = CarliniWagnerL2(steps=100, searches=4).attack(classifier, images, labels)
    >>> attacked.success.tolist()
    [True, True, True, True]
    """

    name: ClassVar[str] = "carlini_wagner_l2"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels", "gradients", "scores"})

    steps: int = Field(1000, ge=1, description="Adam steps of each search; the authors take 1,000 to 10,000")
    searches: int = Field(9, ge=1, description="searches of each image, one for each weight of the bisection")
    first_weight: float = Field(1e-3, gt=0, description="weight of the misclassification term in the first search")
    learning_rate: float = Field(0.01, gt=0, description="Adam's step size, in units of the tanh variable")
    confidence: float = Field(0.0, ge=0, description="score by which another class has to lead (kappa)")
    abort_early: bool = Field(True, description="end the search of an image whose loss no longer falls")
    last_resort: bool = Field(
        True, description="search once more, at the upper bound of the weight, for images that nothing was found for"
    )
    warm_start: bool = Field(
        False, description="start each search from the best image so far (not in the original) instead of the clean one"
    )

    def _allowed(self) -> Projection:
        return WholeBox()

    def _search(self, search: Search, rng: Randomness) -> Attacked:
        goal = search.criterion = Confident.at_least(search.criterion, self.confidence)
        search.keep = "closest"
        search.judge_clean()
        refuse_probabilities(search.scores, search.classifier, self.name)
        weights = Weights.starting(
            len(search.images), first=self.first_weight, largest=LARGEST_WEIGHT, like=search.images
        )
        for _ in range(self.searches):
            # A success can still be beaten by a nearer one.
            positions = (~(search.already | search.not_finite)).nonzero().flatten()
            if not len(positions):
                break
            found = self._descend(search, positions, goal, weights[positions].current, rng[positions])
            weights = weights.put(positions, weights[positions].after(found))
        positions = search.open_positions()
        if self.last_resort and len(positions):
            self._descend(search, positions, goal, weights[positions].at_upper().current, rng[positions])
        return search.result()

    def _descend(self, search: Search, positions: Tensor, goal: Confident, weights: Tensor, rng: Randomness) -> Tensor:
        """One search at fixed weights (m,), absorbed; returns for which images it found something: bool (m,)."""
        images, space = search.images[positions], TanhSpace()
        # What the variable starts at: without the rounding, so that the pull back is exactly zero there.
        centre = space.decode(space.encode(images, images), images)

        def size(candidates: Tensor, chosen: Tensor) -> Tensor:
            return squared_length(candidates, rows(centre, chosen))

        stalled = Stalled(len(images), interval=max(self.steps // 10, 1), direction=goal.direction)
        part = perturb(
            search.classifier,
            images,
            search.labels[positions],
            evaluate=penalised(search.classifier, size, weights, goal=goal),
            projection=GivenStart(search.projection, search.best[positions]) if self.warm_start else search.projection,
            step_rule=AdamStep(self.learning_rate),
            criterion=goal,
            steps=self.steps,
            rng=rng,
            space=space,
            random_start=self.warm_start,
            keep="closest",
            stop=stalled if self.abort_early else None,
        )
        search.absorb(positions, part)
        return part.success
