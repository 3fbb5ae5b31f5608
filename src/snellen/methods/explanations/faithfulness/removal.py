"""Deletion and insertion: the score as the most important pixels go, or come, first; and what a region is worth.

Petsiuk, Das and Saenko, BMVC 2018, arXiv 1806.07421, section 4.1 (RISE); the deletion curve is the pixel flipping of
Bach et al., PLOS ONE 2015. A good map makes the score fall fast and come back fast: a small area under the deletion
curve, a large one under the insertion curve.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.methods.explanations.filling import Filling
from snellen.methods.explanations.maps import has_evidence, moved, pixel_map
from snellen.methods.explanations.score import TargetScore


@dataclass(frozen=True, eq=False)
class RemovalCurves:
    """Scores along the way, NaN throughout where a map says nothing or a score was not finite.

    Attributes:
        shares: float64 (steps + 1,), share of the pixels that are removed, or inserted.
        deletion: float64 (n, steps + 1), from the whole image to everything filled.
        insertion: float64 (n, steps + 1), from everything filled to the whole image.
    """

    shares: Tensor
    deletion: Tensor
    insertion: Tensor

    @property
    def deletion_area(self) -> Tensor:
        """Area under each deletion curve, by trapezoids over the shares: float64 (n,); small is good."""
        return torch.trapezoid(self.deletion, self.shares)

    @property
    def insertion_area(self) -> Tensor:
        """Area under each insertion curve: float64 (n,); large is good."""
        return torch.trapezoid(self.insertion, self.shares)


def removal_curves(
    score: TargetScore, images: Tensor, filled: Filling, maps: Tensor, *, steps: int = 16
) -> RemovalCurves:
    """Both curves of prepared images; 2 · steps queries an image.

    Pixels go in the order of the map, those of equal value in reading order; after step k of s, round(k · h · w / s)
    pixels are gone. Take it for a random map too, :func:`~snellen.methods.explanations.maps.moved`: filling alone
    lowers scores.

    Args:
        score: of all n images; probabilities are usual.
        images: (n, 3, h, w) in [0, 1].
        filled: what shows in place of removed pixels, bound to the images.
        maps: (n, h, w), or (n, 3, h, w), whose channels are summed.
        steps: parts into which the pixels are cut.

    Raises:
        InputError: no steps, or maps of another size.
    """
    flat = pixel_map(maps)
    if steps < 1 or flat.shape != (len(images), *images.shape[2:]):
        raise InputError(
            f"curves need at least one step and a map for each of the images {tuple(images.shape)}; got {steps=} and "
            f"maps {tuple(maps.shape)}"
        )
    pixels = flat[0].numel() if len(flat) else 0
    usable = has_evidence(flat).cpu()
    order = flat.detach().cpu().nan_to_num().flatten(1).argsort(dim=1, descending=True, stable=True)
    rank = torch.empty_like(order).scatter_(1, order, torch.arange(pixels).expand_as(order)).view(flat.shape)
    gone = torch.tensor([round(step * pixels / steps) for step in range(steps + 1)])
    shares = torch.arange(steps + 1, dtype=torch.float64) / steps
    deletion = torch.full((len(images), steps + 1), torch.nan, dtype=torch.float64)
    insertion = deletion.clone()
    with torch.no_grad():
        scored = usable.nonzero()[:, 0]
        for pair in torch.arange(len(scored) * (steps + 1)).split(score.chunk):
            if not len(pair):
                continue
            rows, step = scored[pair // (steps + 1)], pair % (steps + 1)
            removed = rank[rows] < gone[step].view(-1, 1, 1)
            deletion[rows, step] = score.values(filled(rows, ~removed), rows)
            # Both ends are those of the deletion curve.
            inner = (step > 0) & (step < steps)
            if bool(inner.any()):
                some = rows[inner]
                insertion[some, step[inner]] = score.values(filled(some, removed[inner]), some)
    insertion[:, 0], insertion[:, -1] = deletion[:, -1], deletion[:, 0]
    spoiled = ~(deletion.isfinite().all(1) & insertion.isfinite().all(1))
    deletion[spoiled], insertion[spoiled] = torch.nan, torch.nan
    return RemovalCurves(shares, deletion, insertion)


@dataclass(frozen=True, eq=False)
class RegionEffect:
    """Float64 (n,) each, NaN for an empty region; ``control``: the same region pushed around the edges at random.

    Attributes:
        drop: f(x) − f(x without the region).
        kept: f of the region alone.
        control_drop: drop of the control.
        control_kept: kept of the control.
    """

    drop: Tensor
    kept: Tensor
    control_drop: Tensor
    control_kept: Tensor


def region_effect(
    score: TargetScore, images: Tensor, filled: Filling, regions: Tensor, rng: Randomness
) -> RegionEffect:
    """Remove each region, keep it alone, and do the same with a region moved at random; five queries an image.

    Args:
        score: of all n images.
        images: (n, 3, h, w) in [0, 1].
        filled: what shows where pixels are removed, bound to the images.
        regions: bool (n, h, w).
        rng: bound to the images, or not bound; places the control.

    Raises:
        InputError: regions of another shape or type.
    """
    if regions.dtype != torch.bool or regions.shape != (len(images), *images.shape[2:]):
        raise InputError(
            f"regions are bool (n, h, w) of the images {tuple(images.shape)}; got {regions.dtype} "
            f"{tuple(regions.shape)}"
        )
    rows = torch.arange(len(images))
    elsewhere = moved(regions, rng)
    with torch.no_grad():
        whole = score.of_images(images)
        without, alone, other_without, other_alone = (
            score.values(filled(rows, kept), rows) for kept in (~regions, regions, ~elsewhere, elsewhere)
        )
    empty = ~regions.flatten(1).any(1).cpu()
    effects = [
        torch.where(empty, torch.nan, one) for one in (whole - without, alone, whole - other_without, other_alone)
    ]
    return RegionEffect(*effects)
