"""Images that are made when they are read, several at a time: procedural worlds and rendered views."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from snellen.core.errors import RejectedImageError

#: uint8 (m, h, w, 3) pixels, or uint8 (m, h, w) masks, of m rows.
Renderer = Callable[[Sequence[int]], NDArray[np.uint8]]

#: Rows apart up to which two reads count as one after the other. Wider apart, most of a batch would not be needed.
_NEAR = 8


class RenderedSource:
    """Images that follow from a record each.

    Rows that are read one after the other, or nearly, are rendered together and kept for a while, because one batch
    costs far less than its images one by one; a row that is read out of order is rendered alone, because a batch costs
    far more than one image. What a row shows must not depend on the rows it is rendered with.

    >>> source = RenderedSource(3, lambda rows: np.stack([np.full((2, 2, 3), row, np.uint8) for row in rows]), str)
    >>> source.read(2).getpixel((0, 0))
    (2, 2, 2)

    Args:
        count: rows.
        render: pixels of some rows, uint8 (m, h, w, 3).
        recipe: text that says everything the pixels of a row follow from, the renderer and its version included.
        masks: masks of some rows, uint8 (m, h, w), 255 on the object; None when there are none.
        chunk: rows rendered together.
        chunks_kept: chunks in memory.
    """

    def __init__(
        self,
        count: int,
        render: Renderer,
        recipe: Callable[[int], str],
        *,
        masks: Renderer | None = None,
        chunk: int = 64,
        chunks_kept: int = 4,
    ) -> None:
        self.count, self.recipe = count, recipe
        self._render, self._masks, self._chunk, self._kept = render, masks, chunk, chunks_kept
        self._memory: OrderedDict[tuple[str, int], NDArray[np.uint8]] = OrderedDict()
        self._latest: dict[str, int] = {}
        self._lock = threading.Lock()

    def read(self, index: int) -> Image.Image:
        """Pixels of one row as RGB."""
        return Image.fromarray(self._row("pixels", self._render, index), "RGB")

    def read_mask(self, index: int, path: str) -> Image.Image:
        """Mask of one row ("L", 255 on the object); ``path`` is where it will lie once the set is written."""
        if self._masks is None:
            raise RejectedImageError(f"row {index} has no mask {path}")
        return Image.fromarray(self._row("masks", self._masks, index), "L")

    def content_hash(self, index: int) -> str:
        """Hash of the recipe of one row (sha256, hex)."""
        return hashlib.sha256(self.recipe(index).encode()).hexdigest()

    def _row(self, kind: str, render: Renderer, index: int) -> NDArray[np.uint8]:
        number, place = divmod(index, self._chunk)
        # One thread renders while the others wait: they mostly wait for rows of the same chunk.
        with self._lock:
            in_order = 0 < abs(index - self._latest.get(kind, -1)) <= _NEAR
            self._latest[kind] = index
            if (kind, number) not in self._memory:
                if not in_order:
                    return render([index])[0]
                start = number * self._chunk
                try:
                    self._memory[kind, number] = render(range(start, min(start + self._chunk, self.count)))
                except RejectedImageError:  # perhaps of another row: what cannot be drawn costs no neighbour
                    return render([index])[0]
                while len(self._memory) > self._kept:
                    self._memory.popitem(last=False)
            self._memory.move_to_end((kind, number))
            return self._memory[kind, number][place]
