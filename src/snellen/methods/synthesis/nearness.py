"""How near generated images come to the nearest shot: the sign by which a fitting stops before it draws copies.

With d(a, b) the root mean square difference of two images that were averaged to 16 × 16 pixels, a or its mirror image,
and r the median distance of a shot to the nearest other shot, the nearness of a generated image x is

    q(x) = min_i d(x, x_i) / r

A copy is an image with q below 0.5: it lies half as far from a shot as the shots lie from each other.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from snellen.core.errors import InputError

#: Images are compared at so many pixels along each side.
SIDE = 16

#: Below this share of the distance among shots an image is a copy of one.
COPY = 0.5


def thumbnails(images: Tensor) -> Tensor:
    """Images (n, 3, h, w) in [0, 1] averaged to (n, 3, 16, 16)."""
    if images.ndim != 4 or not len(images):
        raise InputError(f"images have shape (n, 3, height, width) with n ≥ 1; got {tuple(images.shape)}")
    return F.interpolate(images.float(), (SIDE, SIDE), mode="area")


def distances(images: Tensor, others: Tensor) -> Tensor:
    """Root mean square difference of thumbnails (n, …) and (m, …), as they are or mirrored, the smaller: (n, m).

    >>> one = torch.rand(1, 3, 16, 16)
    >>> float(distances(one, one.flip(3)))
    0.0
    """
    rows = torch.stack([images, images.flip(3)]).flatten(2)  # (2, n, p)
    columns = others.flatten(1)[None]
    # Not by the inner products, whose rounding would hide exact copies.
    found = torch.cdist(rows, columns.expand(2, -1, -1), compute_mode="donot_use_mm_for_euclid_dist")
    return found.amin(0) / rows.shape[2] ** 0.5


def spread_of(shots: Tensor) -> float:
    """r, the median distance of a shot (n, …), as a thumbnail, to the nearest other one.

    Raises:
        InputError: a single shot, or shots that are all alike, which have no distance from each other.
    """
    if len(shots) < 2:
        raise InputError("the distance among shots needs two of them at least, of any class")
    own = distances(shots, shots)
    own.fill_diagonal_(torch.inf)
    median = float(own.amin(1).median())
    if median <= 0:
        raise InputError("most shots are exact copies of another one; remove duplicates first")
    return median


def nearness(images: Tensor, shots: Tensor, spread: float) -> Tensor:
    """The nearness q of each generated image, (n,): its distance to the nearest shot, where ``spread`` is the unit.

    Args:
        images: (n, 3, h, w) in [0, 1].
        shots: thumbnails (m, 3, 16, 16).
        spread: r, of :func:`spread_of`.
    """
    return distances(thumbnails(images), shots).amin(1) / spread
