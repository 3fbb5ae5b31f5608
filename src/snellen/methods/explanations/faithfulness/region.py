"""What a region is worth: the score without it and with it alone, beside a region of equal size and shape elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.randomness import Randomness
from snellen.methods.explanations.filling import Filling
from snellen.methods.explanations.maps import moved
from snellen.methods.explanations.score import TargetScore


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
    told = [torch.where(empty, torch.nan, one) for one in (whole - without, alone, whole - other_without, other_alone)]
    return RegionEffect(*told)
