"""What a denoiser of perturbations is trained on: a reconstruction, and two alignments of decisions.

Gong, Yao et al., "Reverse engineering of imperceptible adversarial image perturbations" (CDD-RED), ICLR 2022, arXiv
2203.14145, section 4: with D the denoiser, F̂ a frozen surrogate and t a view,

    ℓ = mean |D(t(x')) − t(x)| + γ CE(F̂(D(t(x'))), argmax F̂(t(x)))
        + λ CE(F̂(t(x') − D(t(x')) + t(x)), argmax F̂(t(x')))

Both alignments count for the robust subset alone: views under which the surrogate decides as without. The published
code compares decisions with themselves there, so that nothing is left out; ``whole=True`` does the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from snellen.core.errors import InputError
from snellen.systems.perturbation_estimation.estimate import check_unit
from snellen.systems.perturbation_estimation.unbounded import Scores
from snellen.systems.perturbation_estimation.views import View, untouched


@dataclass(frozen=True)
class LossWeights:
    """Weights of the three terms.

    With ``benign`` and ``adversarial`` 0 the denoiser is a plain one; with ``benign`` alone it is the denoiser of
    denoised smoothing (Salman et al. 2020). Neither needs another formula.

    Args:
        reconstruction: of the first term.
        benign: γ.
        adversarial: λ.
        squared: squared differences instead of absolute ones.
    """

    reconstruction: float = 1.0
    benign: float = 0.025
    adversarial: float = 0.025
    squared: bool = False


@dataclass(frozen=True, eq=False)
class EstimationLoss:
    """Losses of n pairs under v views.

    Args:
        total: (n,); their mean is the loss of the batch.
        parts: means of the terms before weighting, by name; those that were not asked for are missing.
        kept_benign: bool (v, n), what the second term counts.
        kept_adversarial: bool (v, n), what the third term counts.
    """

    total: Tensor
    parts: Mapping[str, Tensor]
    kept_benign: Tensor
    kept_adversarial: Tensor


def estimation_loss(
    denoise: Callable[[Tensor], Tensor],
    scores: Scores,
    clean: Tensor,
    adversarial: Tensor,
    views: Sequence[View],
    weights: LossWeights,
    *,
    whole: bool = False,
) -> EstimationLoss:
    """Losses of pairs under views.

    >>> pairs = torch.rand(2, 2, 3, 4, 4)
    >>> network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 2))
    >>> loss = estimation_loss(lambda seen: seen, network, *pairs, [untouched], LossWeights())
    >>> loss.total.shape, sorted(loss.parts)
    (torch.Size([2]), ['adversarial', 'benign', 'reconstruction'])

    Args:
        denoise: D.
        scores: F̂, images of any range → (n, k), differentiable and frozen.
        clean: x, (n, 3, h, w) in [0, 1].
        adversarial: x', of the same shape.
        views: v of them, each taken of both partners; :func:`~snellen.systems.perturbation_estimation.views.untouched`
            is one.
        weights: of the terms; where γ = λ = 0 the surrogate is not asked.
        whole: count every view in both alignments (as the published code does).

    Raises:
        InputError: partners of different shapes, values outside [0, 1] or NaN, no pair, or no view.
    """
    if clean.shape != adversarial.shape:
        raise InputError(f"partners have one shape; got {tuple(clean.shape)} and {tuple(adversarial.shape)}")
    if not views or not len(clean):
        raise InputError(f"{len(clean)} pairs under {len(views)} views: at least one of each is needed")
    check_unit(clean, "clean images")
    check_unit(adversarial, "adversarial images")
    count = len(clean)
    before = torch.cat([view(clean) for view in views])
    seen = torch.cat([view(adversarial) for view in views])
    estimate = denoise(seen)
    difference = estimate - before
    each = (difference.square() if weights.squared else difference.abs()).flatten(1).mean(1)
    total = weights.reconstruction * each.view(-1, count).mean(0)
    parts = {"reconstruction": each.detach().mean()}
    kept = torch.ones(len(views), count, dtype=torch.bool, device=clean.device)
    masks = {"benign": kept, "adversarial": kept}
    for name, weight, partner, shown, candidate in (
        ("benign", weights.benign, clean, before, estimate),
        ("adversarial", weights.adversarial, adversarial, seen, seen - estimate + before),
    ):
        if not weight:
            continue
        with torch.no_grad():
            decided = scores(shown).argmax(1)
            plain = decided[:count] if views[0] is untouched else scores(partner).argmax(1)
        masks[name] = kept if whole else decided.view(-1, count) == plain
        rows = masks[name].flatten().nonzero().flatten()
        if not len(rows):
            continue  # a mean over nothing is NaN
        missed = F.cross_entropy(scores(candidate[rows]), decided[rows], reduction="none")
        # A share of the sum for each pair, so that the mean over the pairs is the mean over what is kept.
        own = torch.zeros(count, device=clean.device, dtype=missed.dtype).index_add(0, rows % count, missed)
        total = total + weight * own * (count / len(rows))
        parts[name] = missed.detach().mean()
    return EstimationLoss(total, parts, masks["benign"], masks["adversarial"])
