"""Squares of a random search: how large they are, where they lie, what they hold.

Andriushchenko, Croce, Flammarion and Hein, "Square attack: a query-efficient black-box adversarial attack via random
search", ECCV 2020, arXiv 1912.00049: section 3.1 for the sizes, algorithm 2 for L-infinity, algorithm 3 and eq. (2) for
L2.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

#: Queries, of 10,000, after which the share of changed pixels is halved.
_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)


def share_of_pixels(query: int, queries: int, first: float) -> float:
    """Share of the pixels that the square of a query covers: ``first``, halved nine times in all.

    The schedule is that of 10,000 queries, stretched or shortened to ``queries``.

    >>> [share_of_pixels(query, 10_000, 0.8) for query in (0, 11, 51, 9_999)]
    [0.8, 0.4, 0.2, 0.0015625]
    """
    scaled = query * 10_000 // queries
    return first / 2 ** sum(scaled > halving for halving in _HALVINGS)


def side_of_square(share: float, height: int, width: int, *, odd: bool = False) -> int:
    """Side in pixels of a square that covers about this share of an image: at least 1 and within the image.

    ``odd`` is for L2, whose squares are of odd side and at least 3 where the image allows it.

    >>> side_of_square(0.8, 28, 28), side_of_square(0.0015625, 28, 28), side_of_square(0.0015625, 28, 28, odd=True)
    (25, 1, 3)
    """
    side = round(math.sqrt(share * height * width))
    if not odd:
        return min(max(side, 1), height, width)
    side = max(side, 3)
    side = min(side + 1 - side % 2, height, width)
    return side if side % 2 else side - 1


def corners(draws: Tensor, sides: Sequence[int], height: int, width: int) -> Tensor:
    """First rows and columns of squares at uniform positions inside an image: int64 (n, q, 2).

    >>> corners(torch.tensor([[[0.0, 0.999]], [[0.5, 0.5]]]), [3], 5, 5).tolist()
    [[[0, 2]], [[1, 1]]]

    Args:
        draws: uniform in [0, 1), (n, q, 2).
        sides: of the q squares, each at most height and width.
        height: rows of the image.
        width: columns of the image.
    """
    places = torch.tensor([[height - side + 1, width - side + 1] for side in sides], device=draws.device)
    # A draw just below 1 may round up to the number of places.
    return torch.minimum((draws * places).long(), places - 1)


@dataclass(frozen=True)
class Windows:
    """One square in each image, for reading and writing as (n, c, side, side).

    Args:
        corners: first row and column of each, int64 (n, 2).
        side: in pixels.
        channels: of the images.
    """

    corners: Tensor
    side: int
    channels: int = 3

    @property
    def index(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Indices of the values in a tensor (n, c, h, w)."""
        device = self.corners.device
        steps = torch.arange(self.side, device=device)
        examples = torch.arange(len(self.corners), device=device).view(-1, 1, 1, 1)
        channels = torch.arange(self.channels, device=device).view(1, -1, 1, 1)
        rows, columns = (self.corners[:, :, None] + steps).unbind(1)
        return examples, channels, rows[:, None, :, None], columns[:, None, None, :]


@functools.cache
def bump(side: int) -> Tensor:
    """Two bumps of opposite sign, one above the other, of Euclidean length 1: float64 (side, side), not to be changed.

    Eq. (2): a bump in h₁ × h₂ pixels is at row r and column s (from 1) the sum over k from 0 to M(r, s) of
    1 / (n + 1 − k)², where n = ⌊max(h₁, h₂) / 2⌋ and M(r, s) = n − max(|r − ⌊h₁ / 2⌋ − 1|, |s − ⌊h₂ / 2⌋ − 1|).

    >>> bump(3).shape, round(float(bump(3).norm()), 6)
    (torch.Size([3, 3]), 1.0)
    """
    if side == 1:
        return torch.ones(1, 1, dtype=torch.float64)
    upper, lower = _half(side // 2, side), _half(side - side // 2, side)
    both = torch.cat([upper, -lower])
    return both / both.norm()


def _half(height: int, width: int) -> Tensor:
    """One bump of Euclidean length 1: rings around its middle, each lower than the one inside."""
    middle_row, middle_column = height // 2, width // 2
    down = (torch.arange(height) - middle_row).abs()
    across = (torch.arange(width) - middle_column).abs()
    ring = torch.maximum(down[:, None], across[None, :])
    rings = max(height // 2, width // 2) + 1
    weights = torch.tensor([1 / (number + 1) ** 2 for number in range(rings)], dtype=torch.float64)
    # Ring r is inside all the squares from r outwards.
    heights = weights.flip(0).cumsum(0).flip(0)[ring]
    return heights / heights.norm()


def with_squares_at_bounds(best: Tensor, images: Tensor, windows: Windows, positive: Tensor, epsilon: float) -> Tensor:
    """Algorithm 2: each channel of the square goes to the clean image plus or minus epsilon: (n, c, h, w).

    Args:
        best: the best candidates so far (n, c, h, w).
        images: the clean images.
        windows: the squares.
        positive: the channels that go up, bool (n, c).
        epsilon: largest change of a value.
    """
    changed, index = best.clone(), windows.index
    change = torch.where(positive[:, :, None, None], epsilon, -epsilon)
    changed[index] = (images[index] + change).clamp_(0, 1).to(best.dtype)
    return changed


def with_moved_mass(
    best: Tensor, images: Tensor, windows: Windows, source: Windows, bumps: Tensor, epsilon: float
) -> Tensor:
    """Algorithm 3: the change inside ``source`` is taken away, and its length is given to ``windows``: (n, c, h, w).

    Args:
        best: the best candidates so far (n, c, h, w).
        images: the clean images.
        windows: where a bump is added to what is there.
        source: where the change goes back to zero; of the same side.
        bumps: signed bumps of length 1 (n, c, side, side).
        epsilon: length that the whole change has, before it is cut with [0, 1].
    """
    change = best - images
    unused = (epsilon**2 - change.square().sum((1, 2, 3))).clamp(min=0)
    here, there = windows.index, source.index
    inside = change[here]
    shape = bumps + _unit(inside)
    length_here = inside.square().sum((2, 3))
    change[here] = 0
    # What both squares hold, counted once where they overlap.
    available = (length_here + change[there].square().sum((2, 3)) + unused[:, None] / best.shape[1]).sqrt()
    change[there] = 0
    change[here] = _unit(shape) * available[:, :, None, None]
    return (images + change).clamp_(0, 1)


def _unit(values: Tensor) -> Tensor:
    """Each plane of (n, c, h, w) at Euclidean length 1; zero stays zero."""
    return values / values.square().sum((2, 3), keepdim=True).sqrt().clamp(min=1e-12)
