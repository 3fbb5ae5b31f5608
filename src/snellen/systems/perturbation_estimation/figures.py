"""What estimates are worth: distances in pixels, and whether they act like the true image and perturbation.

Gong et al. (ICLR 2022), section 3: d(x, x_RED) = ‖x_RED − x‖₂ of each image; PA_benign, the share of pairs with
argmax F(x_RED) = argmax F(x); PA_adv, the share with argmax F(x + x' − x_RED) = argmax F(x'). F is the victim that was
attacked. Averages over cells: distances by the number of pairs, shares of every cell alike.

For distances of Grad-CAM maps (IAA) the exact definition was not at hand: here maps are normalised to length 1, and the
distance is the squared length of their difference, from 0 to 2; maps without any evidence are all zero.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from snellen.core.classifier import Classifier
from snellen.core.errors import InputError
from snellen.methods.explanations.grad_cam import grad_cam
from snellen.systems.perturbation_estimation.estimate import Scores, check_unit, in_batches
from snellen.systems.perturbation_estimation.pairs import Pairs

#: Figures that are means of distances; all others are shares.
DISTANCES = ("d", "d_attack", "d_to_attacked", "logits_benign", "logits_adversarial")

#: All figures of pairs.
FIGURES = (*DISTANCES, "pa_benign", "pa_adversarial")


def pair_figures(estimate: Tensor, clean: Tensor, adversarial: Tensor, scores: Scores) -> dict[str, Tensor]:
    """Figures of every pair, (n,) each.

    ``d`` ‖x_RED − x‖, ``d_attack`` ‖x' − x‖, ``d_to_attacked`` ‖x_RED − x'‖; ``logits_benign`` ‖F(x_RED) − F(x)‖ and
    ``logits_adversarial`` ‖F(x + x' − x_RED) − F(x')‖, all Euclidean; ``pa_benign`` and ``pa_adversarial``, 0 or 1.

    Args:
        estimate: x_RED, (n, 3, h, w), of any range.
        clean: x, of the same shape.
        adversarial: x'.
        scores: F, for images of any range.

    Raises:
        InputError: different shapes, or images that are not in [0, 1].
    """
    if not estimate.shape == clean.shape == adversarial.shape:
        shapes = ", ".join(str(tuple(one.shape)) for one in (estimate, clean, adversarial))
        raise InputError(f"estimate, clean and adversarial images have one shape; got {shapes}")
    check_unit(clean, "clean images")
    check_unit(adversarial, "adversarial images")
    if not len(clean):
        return {name: torch.zeros(0) for name in FIGURES}
    pasted = clean + (adversarial - estimate)
    of_clean, of_attacked, of_estimate, of_pasted = (
        in_batches(scores, one) for one in (clean, adversarial, estimate, pasted)
    )
    return {
        "d": _length(estimate - clean),
        "d_attack": _length(adversarial - clean),
        "d_to_attacked": _length(estimate - adversarial),
        "logits_benign": _length(of_estimate - of_clean),
        "logits_adversarial": _length(of_pasted - of_attacked),
        "pa_benign": (of_estimate.argmax(1) == of_clean.argmax(1)).double(),
        "pa_adversarial": (of_pasted.argmax(1) == of_attacked.argmax(1)).double(),
    }


def cell_figures(
    denoise: Callable[[Tensor], Tensor], cell: Pairs, scores: Scores, device: torch.device | None = None
) -> dict[str, Tensor]:
    """Figures of every pair of a cell, read some at a time: (n,) each, see :func:`pair_figures`."""
    parts = [
        pair_figures(in_batches(denoise, part.adversarial), part.clean, part.adversarial, scores)
        for part in cell.parts(device=device)
    ]
    return {name: torch.cat([torch.zeros(0), *(part[name].cpu() for part in parts)]) for name in FIGURES}


def averaged(cells: Sequence[Mapping[str, Tensor]]) -> dict[str, float]:
    """Means over cells: of distances over all pairs, of shares over the means of the cells. Empty cells count nowhere.

    Raises:
        InputError: no cell holds a pair.
    """
    filled = [cell for cell in cells if len(next(iter(cell.values())))]
    if not filled:
        raise InputError("no cell holds a pair: there is nothing to average")
    found = {}
    for name in filled[0]:
        if name in DISTANCES:
            found[name] = float(torch.cat([cell[name].double() for cell in filled]).mean())
        else:
            found[name] = float(torch.stack([cell[name].double().mean() for cell in filled]).mean())
    return found


def benign_figures(denoise: Callable[[Tensor], Tensor], clean: Tensor, scores: Scores) -> dict[str, float]:
    """What the denoiser does to images that nobody attacked.

    ``changed``: share whose decision changes, which are the false alarms; ``d``: mean length of what is taken for a
    perturbation.
    """
    estimate = in_batches(denoise, clean)
    changed = in_batches(scores, estimate).argmax(1) != in_batches(scores, clean).argmax(1)
    return {"changed": float(changed.double().mean()), "d": float(_length(estimate - clean).mean())}


def partial_curve(
    denoise: Callable[[Tensor], Tensor],
    cell: Pairs,
    scores: Scores,
    shares: Sequence[float],
    device: torch.device | None = None,
) -> list[dict[str, float]]:
    """Figures under a share of the perturbation, x' = x + p (x' − x): one row for each p in [0, 1].

    ``d`` of the estimate; ``benign``: share of estimates with the clean image's decision; ``success``: share of
    x + δ_RED with the decision of the whole attack; ``attacked``: the same of x + p (x' − x) itself. The cell holds a
    pair or more.
    """
    sums = [dict.fromkeys(("d", "benign", "success", "attacked"), 0.0) for _ in shares]
    for part in cell.parts(device=device):
        wanted = in_batches(scores, part.clean).argmax(1)
        fooled = in_batches(scores, part.adversarial).argmax(1)
        for share, row in zip(shares, sums, strict=True):
            partly = part.clean + share * (part.adversarial - part.clean)
            estimate = in_batches(denoise, partly)
            pasted = part.clean + (partly - estimate)
            row["d"] += float(_length(estimate - part.clean).sum())
            row["benign"] += float((in_batches(scores, estimate).argmax(1) == wanted).sum())
            row["success"] += float((in_batches(scores, pasted).argmax(1) == fooled).sum())
            row["attacked"] += float((in_batches(scores, partly).argmax(1) == fooled).sum())
    return [{name: value / len(cell.ids) for name, value in row.items()} for row in sums]


def _length(difference: Tensor) -> Tensor:
    return torch.linalg.vector_norm(difference.flatten(1), dim=1)


def attention_figures(
    victim: Classifier, estimate: Tensor, clean: Tensor, adversarial: Tensor, *, layer: str | None = None
) -> dict[str, Tensor]:
    """Distances of maps of every pair, (n,) each.

    ``iaa_benign``: between I(x_RED, c) and I(x, c); ``iaa_adversarial``: between I(x + x' − x_RED, c) and I(x', c);
    means over c, the decisions about x and about x'. Estimates are cut to [0, 1] here.

    Args:
        victim: a torch module with layers that give maps.
        estimate: x_RED, (n, 3, h, w).
        clean: x.
        adversarial: x'.
        layer: see :func:`snellen.methods.explanations.grad_cam.grad_cam`.

    Raises:
        InputError: different shapes.
    """
    if not estimate.shape == clean.shape == adversarial.shape:
        raise InputError("estimate, clean and adversarial images have one shape")
    with torch.no_grad():
        classes = (victim(clean).argmax(1), victim(adversarial).argmax(1))
    pasted = (clean + adversarial - estimate).clamp(0, 1)
    pairs = {"iaa_benign": (estimate.clamp(0, 1), clean), "iaa_adversarial": (pasted, adversarial)}

    def apart(one: Tensor, other: Tensor, target: Tensor) -> Tensor:
        return (_map(victim, one, target, layer) - _map(victim, other, target, layer)).square().sum(1)

    return {
        name: torch.stack([apart(one, other, target) for target in classes]).mean(0)
        for name, (one, other) in pairs.items()
    }


def _map(victim: Classifier, images: Tensor, targets: Tensor, layer: str | None) -> Tensor:
    """Maps of length 1, (n, h · w)."""
    maps = grad_cam(victim, images, targets, layer=layer).maps.flatten(1)
    return maps / torch.linalg.vector_norm(maps, dim=1, keepdim=True).clamp(min=1e-12)
