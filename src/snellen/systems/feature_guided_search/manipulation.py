"""What is done to a pixel: a step up or down, white, black, or the opposite extreme.

A changed image is a row of instructions, int8 (h·w,): 0 leaves a pixel alone, 1 and −1 manipulate it. Each pixel has at
most one, so that an image is reached by any order of its manipulations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Manipulation = Literal["extreme", "step", "white", "black"]

Instructions = NDArray[np.int8]


@dataclass(frozen=True, eq=False)
class Manipulated:
    """Clean images and what their pixels become.

    Attributes:
        images: (n, 3, h, w) in [0, 1].
        up: the same images with every pixel manipulated by instruction 1.
        down: by instruction −1; None where there is no such instruction.
    """

    images: Tensor
    up: Tensor
    down: Tensor | None

    @property
    def instructions(self) -> tuple[int, ...]:
        """The changes that a pixel may have."""
        return (1,) if self.down is None else (1, -1)

    def candidates(self, rows: Tensor, instructions: Tensor) -> Tensor:
        """Make images: positions (m,) of clean ones, int8 (m, h·w) → (m, 3, h, w)."""
        clean = self.images[rows]
        told = instructions.view(len(rows), 1, *clean.shape[2:])
        made = torch.where(told > 0, self.up[rows], clean)
        return made if self.down is None else torch.where(told < 0, self.down[rows], made)


def manipulated(images: Tensor, manipulation: Manipulation, *, step: float) -> Manipulated:
    """Prepare a manipulation of some images.

    >>> image = torch.tensor([0.2, 0.7]).expand(1, 3, 1, 2)
    >>> manipulated(image, "extreme", step=0.1).up[0, 0].tolist()
    [[1.0, 0.0]]

    Args:
        images: (n, 3, h, w) in [0, 1].
        manipulation: ``step``: all channels go up or down by ``step``, cut to [0, 1]; ``extreme``: each channel goes to
            1 below one half, else to 0; ``white``, ``black``: all channels go to 1, to 0.
        step: of ``step`` (tau), in [0, 1] units.
    """
    if manipulation == "step":
        return Manipulated(images, (images + step).clamp(0, 1), (images - step).clamp(0, 1))
    if manipulation == "extreme":
        return Manipulated(images, (images < 0.5).to(images.dtype), None)
    ends = torch.ones_like(images) if manipulation == "white" else torch.zeros_like(images)
    return Manipulated(images, ends, None)
