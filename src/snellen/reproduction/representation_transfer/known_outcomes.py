"""Success at a size, without attacking again the images whose outcome follows from other sizes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class KnownOutcomes:
    """Size → share of images broken; the calibration of a size needs it many times.

    An image that was broken at a smaller size counts as broken, and one that stood at a larger size as standing; only
    the others are attacked. A search is not exactly monotone in its size, so that the share at the size that is chosen
    is to be measured on all images, with :meth:`measured`.

    >>> outcomes = KnownOutcomes(lambda size, rows: rows < size, 4)
    >>> [outcomes(2.0), outcomes(3.0), outcomes(2.5), outcomes.attacked]
    [0.5, 0.75, 0.75, 7]

    Args:
        broken_at: size and rows (m,) → which of these are broken, bool (m,).
        count: rows.
    """

    def __init__(self, broken_at: Callable[[float, Tensor], Tensor], count: int) -> None:
        self._broken_at = broken_at
        self._smallest_broken = torch.full((count,), torch.inf, dtype=torch.float64)
        self._largest_standing = torch.full((count,), -torch.inf, dtype=torch.float64)
        self.attacked = 0

    def __call__(self, size: float) -> float:
        """The share at a size; 0 of no images."""
        rows = ((self._smallest_broken > size) & (self._largest_standing < size)).nonzero().flatten()
        if len(rows):
            self.attacked += len(rows)
            broken = self._broken_at(size, rows)
            self._smallest_broken[rows[broken]] = size
            self._largest_standing[rows[~broken]] = size
        return _share(self._smallest_broken <= size)

    def measured(self, size: float) -> float:
        """The share at a size with every image attacked."""
        rows = torch.arange(len(self._smallest_broken))
        return _share(self._broken_at(size, rows)) if len(rows) else 0.0


def _share(broken: Tensor) -> float:
    return float(broken.double().mean()) if len(broken) else 0.0
