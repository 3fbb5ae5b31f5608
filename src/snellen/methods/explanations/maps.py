"""Maps of contributions as arrays: one number a pixel, the strongest pixel, a part of a given size, and its control."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from snellen.core.errors import InputError
from snellen.core.in_float64 import lacks_float64
from snellen.core.randomness import Randomness

#: Which end of a map is strong: evidence for the target, or evidence of either sign.
Select = Literal["positive", "absolute"]

#: Which of several strongest pixels: the first in reading order, or the one nearest to the centre of them all. Maps of
#: blocks have whole blocks of them, and the first is a corner.
Ties = Literal["first", "centre"]


def pixel_map(maps: Tensor) -> Tensor:
    """One number a pixel: (n, h, w) as it is, (n, c, h, w) summed over channels, so that totals stay.

    Raises:
        InputError: another shape.
    """
    if maps.ndim not in (3, 4) or not maps.is_floating_point():
        raise InputError(f"maps are float (n, h, w) or (n, c, h, w), got {maps.dtype} {tuple(maps.shape)}")
    return maps.sum(1) if maps.ndim == 4 else maps


def has_evidence(maps: Tensor) -> Tensor:
    """Which maps say anything: finite, and not the same at every pixel. (n, …) → bool (n,).

    Differences count however small: only the scores show the size of rounding, and
    :meth:`~snellen.methods.explanations.attributed.Attributed.of` makes a map of rounding 0 throughout.

    >>> has_evidence(torch.tensor([[[0.0, 1.0]], [[2.0, 2.0]], [[0.0, float("nan")]]]))
    tensor([ True, False, False])
    """
    flat = pixel_map(maps).flatten(1)
    varied = flat.amax(1) > flat.amin(1)  # false where something is NaN
    return flat.isfinite().all(1) & varied


def strongest(maps: Tensor, select: Select = "positive", ties: Ties = "first") -> Tensor:
    """The pixel of the largest contribution: int64 (n, 2), row and column, −1 where a map says nothing.

    With ``positive``, a map without a positive pixel has no
    strongest one: the largest of numbers against the target is no evidence for it.

    >>> strongest(torch.tensor([[[0.0, -3.0], [1.0, 0.0]], [[5.0, 5.0], [5.0, 5.0]]])).tolist()
    [[1, 0], [-1, -1]]
    >>> strongest(torch.tensor([[[0.0, -3.0], [1.0, 0.0]]]), "absolute").tolist()
    [[0, 1]]
    >>> strongest(torch.ones(1, 3, 3).index_fill(1, torch.tensor([2]), 0.0), ties="centre").tolist()
    [[0, 1]]
    """
    if lacks_float64(maps.device):  # centres need it
        return strongest(maps.cpu(), select, ties).to(maps.device)
    flat = pixel_map(maps)
    height, width = flat.shape[1:]
    usable = has_evidence(flat)
    flat = torch.where(usable[:, None, None], flat, 0.0).flatten(1)
    if select == "absolute":
        flat = flat.abs()
    usable = usable & (flat.amax(1) > 0)
    if ties == "centre":
        equal = flat == flat.amax(1, keepdim=True)
        places = torch.cartesian_prod(torch.arange(height), torch.arange(width)).double().to(flat.device)
        centres = (equal.double() @ places) / equal.sum(1, keepdim=True)
        flat = torch.where(equal, -torch.cdist(centres, places), -torch.inf)
    place = flat.argmax(1)
    return torch.where(usable[:, None], torch.stack([place // width, place % width], 1), -1)


def top_part(maps: Tensor, pixels: Tensor) -> Tensor:
    """The highest pixels of each map, exactly so many: (n, h, w) and int64 (n,) → bool (n, h, w).

    Of equal pixels the first in reading order count. Where a map says nothing, nothing is chosen.

    >>> top_part(torch.tensor([[[0.1, 0.3], [0.3, 0.2]]]), torch.tensor([2])).tolist()
    [[[False, True], [True, False]]]
    """
    flat = pixel_map(maps)
    usable = has_evidence(flat)
    order = torch.where(usable[:, None, None], flat, 0.0).flatten(1).argsort(dim=1, descending=True, stable=True)
    wanted = torch.where(usable.cpu(), pixels.cpu(), 0).to(order.device)
    chosen = torch.arange(order.shape[1], device=order.device)[None] < wanted[:, None]
    return torch.zeros_like(chosen).scatter(1, order, chosen).view(flat.shape)


def moved(maps: Tensor, rng: Randomness) -> Tensor:
    """The same maps, or masks, each pushed around the edges by a random step: (n, …, h, w) → the same shape.

    The control of a part: as large, as compact and as rough as the part, but somewhere else. All places but its own are
    equally likely; an image of one pixel has no other.
    """
    height, width = maps.shape[-2:]
    steps = rng.bind(len(maps)).integers("moved", (), 1, max(height * width, 2)).tolist()
    rolled = [
        torch.roll(one, (step // width % height, step % width), (-2, -1)) for one, step in zip(maps, steps, strict=True)
    ]
    return torch.stack(rolled) if rolled else maps.clone()
