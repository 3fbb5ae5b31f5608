"""How far a changed image is from the clean one, from the differences of the images at the pixels that are changed."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from snellen.systems.feature_guided_search.manipulation import Instructions, Manipulated

SeverityNorm = Literal["l0", "l1", "l2", "linf"]


class Severity:
    """Severities of changed images.

    What a manipulation does to a pixel does not depend on other pixels. Hence the difference of the images at each
    pixel is taken once, and the severity of a set of changes is their sum (L0: differing pixels; L1), root of the sum
    of squares (L2) or largest (L-infinity). A manipulation that leaves a pixel as it was counts nothing.

    >>> import torch
    >>> from snellen.systems.feature_guided_search.manipulation import manipulated
    >>> changes = manipulated(torch.tensor([0.0, 0.6, 1.0]).expand(1, 3, 1, 3), "white", step=0.1)
    >>> [Severity(changes, norm).of(0, np.array([1, 1, 1], dtype=np.int8)) for norm in ("l0", "linf")]
    [2.0, 1.0]

    Args:
        changes: the clean images and what their pixels become.
        norm: of the severity; L1, L2 and L-infinity are over all values, in [0, 1] units.
    """

    def __init__(self, changes: Manipulated, norm: SeverityNorm) -> None:
        self.norm = norm
        self._up = _by_pixel(changes.up, changes.images, norm)
        self._down = None if changes.down is None else _by_pixel(changes.down, changes.images, norm)

    def of(self, row: int, instructions: Instructions) -> float:
        """Severity of one changed image: int8 (h·w,) on the clean image at this position."""
        pixels = instructions.nonzero()[0]
        if not len(pixels):
            return 0.0
        parts = self._up[row, pixels]
        if self._down is not None:
            parts = np.where(instructions[pixels] > 0, parts, self._down[row, pixels])
        if self.norm == "linf":
            return float(parts.max())
        return float(np.sqrt(parts.sum())) if self.norm == "l2" else float(parts.sum())

    def farthest(self, row: int) -> float:
        """Severity of the image in which every pixel is manipulated upwards."""
        return self.of(row, np.ones(self._up.shape[1], dtype=np.int8))


def _by_pixel(changed: Tensor, clean: Tensor, norm: SeverityNorm) -> NDArray[np.float64]:
    """What each pixel adds: (n, 3, h, w), (n, 3, h, w) → float64 (n, h·w)."""
    change = (changed - clean).double().abs().flatten(2)
    if norm == "l0":
        added = change.amax(1).ne(0).double()
    elif norm == "linf":
        added = change.amax(1)
    else:
        added = (change.square() if norm == "l2" else change).sum(1)
    values: NDArray[np.float64] = added.cpu().numpy()
    return values
