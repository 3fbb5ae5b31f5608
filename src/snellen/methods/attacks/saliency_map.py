"""The saliency map attack on pairs of values.

Papernot, McDaniel, Jha, Fredrikson, Celik and Swami, "The limitations of deep learning in adversarial settings", IEEE
EuroS&P 2016, arXiv 1511.07528, algorithms 2 and 3; without a target, the map of Wiyatno and Xu, "Maximal Jacobian-based
saliency map attack", 2018, arXiv 1808.07945, section 2: away from the label instead of towards a target.
"""

from __future__ import annotations

from typing import ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from snellen.core.errors import UnsupportedError
from snellen.core.method import Need
from snellen.core.outcomes import Attacked
from snellen.core.randomness import Randomness
from snellen.methods.attacks.perturbation import Search
from snellen.methods.attacks.perturbation.pair_search import best_pairs
from snellen.methods.attacks.perturbation.pixel_count import ValueCount
from snellen.methods.attacks.perturbation.projections import Projection
from snellen.methods.attacks.search_attack import SearchAttack


class SaliencyMap(SearchAttack):
    """Two values at a time are pushed to their limit, those that help the wanted class most and the others least.

    A pair counts only where both sums, over the wanted score and over all others, have the right sign; an image with no
    such pair left ends as a failure. A value that has reached 0 or 1 is not touched again. The best pair is found
    exactly, without visiting all pairs. Distances are numbers of changed values, of 3·h·w. An image costs at most
    ``largest_share · 3·h·w / 2 · ceil(1 / |step|)`` steps, each of one query and two gradients.

    >>> from torch import nn
    >>> from snellen.core.classifier import Classifier
    >>> _ = torch.manual_seed(0)
    >>> classifier = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), class_names=["a", "b"])
    >>> images = torch.rand(4, 3, 4, 4)
    >>> labels = classifier(images).argmax(1)
    >>> attacked = SaliencyMap(largest_share=0.5).attack(classifier, images, labels)
    >>> bool((attacked.distance <= 24).all())
    True
    """

    name: ClassVar[str] = "saliency_map"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels", "gradients", "scores"})

    step: float = Field(
        1.0, ge=-1, le=1, description="change of a value in one step (theta), in [0, 1] units; negative darkens"
    )
    largest_share: float = Field(0.145, gt=0, le=1, description="largest share of the values that may change (gamma)")

    @model_validator(mode="after")
    def _moves(self) -> Self:
        if abs(self.step) < 1e-3:
            raise ValueError(
                f"a step of {self.step} moves nothing in [0, 1]; take one from 0.001 to 1, or from -1 to -0.001"
            )
        return self

    def _allowed(self) -> Projection:
        return ValueCount()

    def _search(self, search: Search, rng: Randomness) -> Attacked:
        if search.classifier.task == "multilabel":
            raise UnsupportedError(
                f"{search.classifier.name} gives several labels an image; {self.name} needs one class an image"
            )
        search.judge_clean()
        positions = search.open_positions()
        variables = search.images[positions]
        largest = int(self.largest_share * search.images.shape[1:].numel())
        while len(positions):
            alpha, beta, done = self._slopes(search, variables, positions)
            flat, clean = variables.flatten(1), search.images[positions].flatten(1)
            free = flat < 1 if self.step > 0 else flat > 0
            # A pair of new values has to fit into what may still change.
            full = (flat != clean).sum(1, keepdim=True) + 2 > largest
            free &= ~full | (flat != clean)
            pairs, exists = best_pairs(alpha, beta, free)
            left = exists & ~done
            rows, pairs = left.nonzero().flatten(), pairs[left]
            search.stepped[positions[rows]] = True
            flat = flat[rows].scatter_add(1, pairs, torch.full_like(pairs, self.step, dtype=flat.dtype))
            variables, positions = flat.clamp_(0, 1).view(-1, *search.images.shape[1:]), positions[rows]
        return search.result()

    def _slopes(self, search: Search, variables: Tensor, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Judge candidates (m, 3, h, w); what a value gains for the goal and costs elsewhere (m, d), and who is done.

        Maps the paper's ∂F_t/∂x to the first and −Σ ∂F_j/∂x to the second, both with the sign of the step and of the
        criterion: a pair is worth the product of its sums, where both are positive.
        """
        labels = search.labels[positions]
        with torch.enable_grad():
            tracked = variables.clone().requires_grad_(True)
            scores, _, finite = search.ask(tracked, positions)
            own = scores.gather(1, labels[:, None]).sum()
            (of_own,) = torch.autograd.grad(own, tracked, retain_graph=True)
            (of_all,) = torch.autograd.grad(scores.sum(), tracked)
        search.gradients[positions] += 2
        done = search.record(positions, variables, scores.detach(), finite)
        towards = -search.criterion.direction * (1.0 if self.step > 0 else -1.0)
        finite_slopes = of_own.isfinite().flatten(1).all(1) & of_all.isfinite().flatten(1).all(1)
        search.not_finite[positions] |= ~finite_slopes & ~done
        search.sloped[positions] |= ((of_own != 0) | (of_all != 0)).flatten(1).any(1) & ~done
        gain, cost = towards * of_own.flatten(1), towards * (of_own - of_all).flatten(1)
        return gain, cost, done | ~finite_slopes
