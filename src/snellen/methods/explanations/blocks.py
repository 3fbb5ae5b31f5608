"""Rectangles of an image, halved again and again along their longer edge, and sets of pixels made of such rectangles.

This is the partition tree of the Image masker of ``shap``; a tree of rectangles needs no table, because the halves of a
rectangle follow from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Block(NamedTuple):
    """Rows top to bottom, columns left to right, channels first to last; the ends are not included."""

    top: int
    bottom: int
    left: int
    right: int
    first: int = 0
    last: int = 1

    @property
    def size(self) -> int:
        """Values in it."""
        return (self.bottom - self.top) * (self.right - self.left) * (self.last - self.first)

    def halves(self, smallest: int = 1) -> tuple[Block, Block] | None:
        """Two halves, or None of a block that is not halved further.

        The longer edge is halved, rows where both are as long; channels last, when one pixel is left. An odd edge
        gives the first half one more, as in ``shap``.

        >>> upper, lower = Block(0, 3, 0, 2).halves()
        >>> (upper.bottom, lower.top)
        (2, 2)

        Args:
            smallest: edges of this length and less are not halved, pixels.
        """
        high, wide = self.bottom - self.top, self.right - self.left
        if high >= wide and high > smallest:
            middle = self.top + (high + 1) // 2
            return self._replace(bottom=middle), self._replace(top=middle)
        if wide > smallest:
            middle = self.left + (wide + 1) // 2
            return self._replace(right=middle), self._replace(left=middle)
        if self.last - self.first > 1:
            middle = self.first + (self.last - self.first + 1) // 2
            return self._replace(last=middle), self._replace(first=middle)
        return None


class Union(NamedTuple):
    """Pixels of a block and of another union: a chain, of which many unions may share the end."""

    block: Block
    rest: Union | None = None

    def blocks(self) -> Iterator[Block]:
        """All blocks, the last one added first."""
        link: Union | None = self
        while link is not None:
            yield link.block
            link = link.rest


def painted(unions: list[Union | None], height: int, width: int, channels: int) -> NDArray[np.bool_]:
    """Which values belong to each union: (m, c, h, w), or (m, h, w) without channels (``channels`` 1); None: none."""
    masks = np.zeros((len(unions), channels, height, width), dtype=np.bool_)
    for mask, union in zip(masks, unions, strict=True):
        if union is not None:
            for top, bottom, left, right, first, last in union.blocks():
                mask[first:last, top:bottom, left:right] = True
    return masks[:, 0] if channels == 1 else masks
