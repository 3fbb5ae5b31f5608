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
from snellen.methods.attacks.perturbation.pixel_count import ValueCount
from snellen.methods.attacks.perturbation.projections import Projection
from snellen.methods.attacks.search_attack import SearchAttack

#: Values of the largest table of pairs that is made at once: 64 MiB in float32.
_TABLE = 2**24


def best_pairs(gains: Tensor, costs: Tensor, free: Tensor) -> tuple[Tensor, Tensor]:
    """Find for each image the pair p ≠ q with the largest (g_p + g_q) · (c_p + c_q), where both sums are positive.

    A value can only be in the best pair if its product with the best conceivable partner beats a pair that is known
    already; a table is made of these few values alone. Ties go to the earlier values.

    >>> gains = torch.tensor([[1.0, 2.0, 3.0, -1.0]])
    >>> costs = torch.tensor([[1.0, 1.0, -5.0, 9.0]])
    >>> pairs, exists = best_pairs(gains, costs, torch.ones(1, 4, dtype=torch.bool))
    >>> pairs.tolist(), exists.tolist()
    ([[1, 3]], [True])

    Args:
        gains: g, float (m, d).
        costs: c, float (m, d).
        free: bool (m, d), values that may be part of a pair.

    Returns:
        Pairs int64 (m, 2) in ascending order, and whether one exists, bool (m,); pairs of those without one mean
        nothing.
    """
    count, width = gains.shape
    if not count or width < 2:
        return gains.new_zeros((count, 2), dtype=torch.int64), free.new_zeros(count)
    gains, costs = (values.masked_fill(~free, -torch.inf) for values in (gains, costs))
    top_gain, top_cost = (values.topk(2, dim=1).values for values in (gains, costs))
    # The best partner of the best value is the second best one.
    partner_gain = torch.where(gains == top_gain[:, :1], top_gain[:, 1:], top_gain[:, :1])
    partner_cost = torch.where(costs == top_cost[:, :1], top_cost[:, 1:], top_cost[:, :1])
    bound = _product(gains + partner_gain, costs + partner_cost)
    promising = bound.topk(min(32, width), dim=1).indices
    known = _best_of_table(gains.gather(1, promising), costs.gather(1, promising))[0]
    # Rounding must not cut off the best pair itself.
    candidates = free & (bound > 0) & (bound >= known[:, None] * (1 - 1e-5))
    pairs = gains.new_zeros((count, 2), dtype=torch.int64)
    exists = free.new_zeros(count)
    widths = candidates.sum(1)
    # Images with as many candidates share a table: no image pays for its neighbour's.
    order = widths.argsort(stable=True)
    begin = 0
    while begin < count:
        end = begin + 1
        size = max(int(widths[order[begin]]), 2)
        while (
            end < count
            and int(widths[order[end]]) <= max(2 * size, 32)
            and ((end + 1 - begin) * int(widths[order[end]]) ** 2 <= _TABLE)
        ):
            end += 1
        rows = order[begin:end]
        size = min(max(int(widths[rows].max()), 2), width)
        # Candidates first, in the order of the values.
        chosen = (~candidates[rows]).to(torch.uint8).argsort(dim=1, stable=True)[:, :size]
        outside = ~candidates[rows].gather(1, chosen)
        found, first, second = _best_of_table(
            gains[rows].gather(1, chosen).masked_fill(outside, -torch.inf),
            costs[rows].gather(1, chosen).masked_fill(outside, -torch.inf),
        )
        pairs[rows] = torch.stack([chosen.gather(1, first[:, None]), chosen.gather(1, second[:, None])], 1).squeeze(2)
        exists[rows] = found > 0
        begin = end
    return pairs.sort(1).values, exists


def _product(gains: Tensor, costs: Tensor) -> Tensor:
    """The product where both are positive, else 0."""
    return torch.where((gains > 0) & (costs > 0), gains * costs, 0.0)


def _best_of_table(gains: Tensor, costs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Largest product of (m, s) values, and its row and column (m,): all s² pairs, by blocks of rows."""
    count, size = gains.shape
    best = gains.new_full((count,), -1.0)
    first, second = (torch.zeros(count, dtype=torch.int64, device=gains.device) for _ in range(2))
    block = max(_TABLE // max(count * size, 1), 1)
    for begin in range(0, size, block):
        part = slice(begin, min(begin + block, size))
        table = _product(gains[:, part, None] + gains[:, None], costs[:, part, None] + costs[:, None])
        own = torch.arange(part.start, part.stop, device=gains.device)
        table[:, own - begin, own] = -1.0
        values, places = table.flatten(1).max(1)
        better = values > best
        best = torch.where(better, values, best)
        first = torch.where(better, places // size + begin, first)
        second = torch.where(better, places % size, second)
    return best, first, second


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
