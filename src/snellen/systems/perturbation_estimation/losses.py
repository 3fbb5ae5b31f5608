"""What a denoiser of perturbations is trained on: a reconstruction, and two alignments of decisions.

Gong, Yao et al., "Reverse engineering of imperceptible adversarial image perturbations" (CDD-RED), ICLR 2022, arXiv
2203.14145, section 4: with D the denoiser, F̂ a frozen surrogate and t a view,

    ℓ = mean |D(t(x')) − t(x)| + γ CE(F̂(D(t(x'))), argmax F̂(t(x)))
        + λ CE(F̂(t(x') − D(t(x')) + t(x)), argmax F̂(t(x')))

Both alignments count for the robust subset alone: views under which the surrogate decides as without. The published
code compares decisions with themselves there, so that nothing is left out; ``whole=True`` does the same.

Views are the transformations of section 4: windows, boxes of other images, flips,
rotations, shifts, holes. Each image draws its own; the published code draws one for a batch, and in pixels of images of
224, which are shares of the height here. They are linear and copy what they change.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from snellen.core.errors import InputError, unknown_name
from snellen.core.randomness import Randomness
from snellen.systems.perturbation_estimation.estimate import Scores, check_unit
from snellen.training.mixing import partners, paste, pasted_boxes

#: (n, 3, h, w) → (n, 3, h, w), the same change for all images.
View = Callable[[Tensor], Tensor]

#: Draws a view for images like these.
Draw = Callable[[Tensor, Randomness], View]

ViewName = Literal["crop_and_pad", "cutmix", "flip", "rotation", "translation", "cutout"]

#: Largest lower bound of the side of a window, and largest side of a hole, as shares of the height.
WINDOW, HOLE = 180 / 224, 50 / 224

#: Largest shift, as a share of height and width.
SHIFT = 0.25


def untouched(images: Tensor) -> Tensor:
    """The images as they are."""
    return images


def draw_view(name: str, images: Tensor, rng: Randomness) -> View:
    """Draw a view by name.

    >>> images = torch.rand(2, 3, 8, 8)
    >>> view = draw_view("flip", images, Randomness(0).bind(2))
    >>> torch.equal(view(images), view(images))
    True

    Args:
        name: one of :data:`VIEWS`.
        images: (n, 3, h, w); they give size, type and device.
        rng: bound to them.

    Raises:
        UnknownNameError: no such view.
    """
    if name not in VIEWS:
        raise unknown_name("view", name, VIEWS)
    return VIEWS[name](images, rng.child(name))


def crop_and_pad(images: Tensor, rng: Randomness) -> View:
    """Keep one square window: its side is uniform between a random bound and the height, its centre in the image."""
    drawn = rng.uniform("window", (4,), like=images)
    height = images.shape[2]
    least = 1 + (drawn[:, 0] * max(WINDOW * height, 1)).floor()
    side = (least + drawn[:, 1] * (height - least + 1)).floor().clamp(max=height)
    mask = _squares(images, drawn[:, 2:], side)
    return lambda seen: seen * mask


def cutout(images: Tensor, rng: Randomness) -> View:
    """Blacken one square whose side is uniform up to a random bound."""
    drawn = rng.uniform("hole", (4,), like=images)
    largest = 1 + (drawn[:, 0] * max(HOLE * images.shape[2], 1)).floor()
    side = 1 + (drawn[:, 1] * largest).floor()
    mask = 1 - _squares(images, drawn[:, 2:], side)
    return lambda seen: seen * mask


def cutmix(images: Tensor, rng: Randomness) -> View:
    """Paste a box of another image of the batch, the same box of the same partner for all images."""
    partner = partners(rng).to(images.device)
    boxes = pasted_boxes(rng, images, 1.0, 1.0)
    return lambda seen: paste(seen, seen[partner], boxes)


def flip(images: Tensor, rng: Randomness) -> View:
    """Mirror every image, half of them upside down and half left to right."""
    upside = rng.uniform("axis", (1, 1, 1), like=images) > 0.5
    return lambda seen: torch.where(upside, seen.flip(2), seen.flip(3))


def rotation(images: Tensor, rng: Randomness) -> View:
    """Turn every image around its centre by any angle; what comes in from outside is black."""
    angle = rng.uniform("angle", (), -math.pi, math.pi, like=images)
    return _sampled(images, angle, torch.zeros(len(images), 2, device=images.device, dtype=images.dtype))


def translation(images: Tensor, rng: Randomness) -> View:
    """Move every image by up to a quarter of its size, whole pixels; what comes in from outside is black."""
    drawn = rng.uniform("shift", (2,), -SHIFT, SHIFT, like=images)
    sizes = torch.tensor([images.shape[3], images.shape[2]], device=images.device)
    whole = (drawn * sizes).round() / sizes
    return _sampled(images, torch.zeros_like(drawn[:, 0]), whole)


VIEWS: Mapping[str, Draw] = {
    "crop_and_pad": crop_and_pad,
    "cutmix": cutmix,
    "flip": flip,
    "rotation": rotation,
    "translation": translation,
    "cutout": cutout,
}


def _squares(images: Tensor, place: Tensor, side: Tensor) -> Tensor:
    """Masks (n, 1, h, w) of squares around places (n, 2) in [0, 1), cut off at the edges."""
    spans = []
    for axis, length in ((0, images.shape[2]), (1, images.shape[3])):
        middle = (place[:, axis] * length).floor()
        at = torch.arange(length, device=images.device)
        first = (middle - (side / 2).floor())[:, None]
        spans.append((at >= first) & (at < first + side[:, None]))
    return (spans[0][:, None, :, None] & spans[1][:, None, None, :]).to(images.dtype)


def _sampled(images: Tensor, angle: Tensor, shift: Tensor) -> View:
    """Turn by angles (n,) and move by shares of width and height (n, 2), bilinearly, black outside."""
    height, width = images.shape[2:]
    cosine, sine = angle.cos(), angle.sin()
    # Grids count from −1 to 1 along each side, so an angle must know of both lengths to turn and not to shear.
    rows = [
        torch.stack([cosine, -sine * height / width, -2 * shift[:, 0]], 1),
        torch.stack([sine * width / height, cosine, -2 * shift[:, 1]], 1),
    ]
    grid = F.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return lambda seen: F.grid_sample(seen, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


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
        parts: means of the terms before weighting, by name; those that were not requested are missing.
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
        views: v of them, each taken of both partners; :func:`~snellen.systems.perturbation_estimation.losses.untouched`
            is one.
        weights: of the terms; where γ = λ = 0 the surrogate does not run.
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
