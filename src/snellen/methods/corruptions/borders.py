"""What lies beyond the edge of an image: index vectors for any amount of padding at any size.

Libraries pad by reflection only as far as the image is wide; here an index wraps as often as it has to, so that wide
kernels also act on tiny images.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

#: (size, before, after) → int64 (before + size + after), the pixel that stands at each place of the padded axis.
Border = Callable[[int, int, int], Tensor]


def replicate(size: int, before: int, after: int) -> Tensor:
    """Edge pixel repeated, a a a | a b c d | d d d: SciPy's and scikit-image's ``nearest``, OpenCV's ``REPLICATE``.

    >>> replicate(3, 2, 1).tolist()
    [0, 0, 0, 1, 2, 2]
    """
    return torch.arange(-before, size + after).clamp_(0, size - 1)


def reflect(size: int, before: int, after: int) -> Tensor:
    """Mirror at the edge, edge pixel repeated, d c b a | a b c d | d c b a: SciPy's ``reflect``, OpenCV's ``REFLECT``.

    >>> reflect(3, 2, 4).tolist()
    [1, 0, 0, 1, 2, 2, 1, 0, 0]
    """
    places = torch.arange(-before, size + after) % (2 * size)
    return torch.minimum(places, 2 * size - 1 - places)


def reflect_101(size: int, before: int, after: int) -> Tensor:
    """Mirror at the edge pixel, d c b | a b c d | c b a: OpenCV's default, torch's ``reflect``, SciPy's ``mirror``.

    >>> reflect_101(3, 2, 3).tolist()
    [2, 1, 0, 1, 2, 1, 0, 1]
    """
    period = max(2 * (size - 1), 1)
    places = torch.arange(-before, size + after) % period
    return torch.minimum(places, period - places).clamp_(max=size - 1)


def pad(planes: Tensor, rows: tuple[int, int], columns: tuple[int, int], border: Border) -> Tensor:
    """Pad (…, h, w) by (before, after) rows and columns: a new tensor (…, h + Σ rows, w + Σ columns)."""
    height, width = planes.shape[-2:]
    below = border(height, *rows).to(planes.device)
    beside = border(width, *columns).to(planes.device)
    return planes.index_select(-2, below).index_select(-1, beside)
