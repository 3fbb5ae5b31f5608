"""Few levels and dithering, the trigger of BppAttack: which pixel changes and how depends on the image alone."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from snellen.core.randomness import Randomness
from snellen.data.worlds.planting.trigger import Trigger, everywhere

#: Fractional bits of the arithmetic. Errors travel across the whole image, and in whole numbers none of them depends on
#: how an addition was vectorised.
_BITS = 20


class DitheringTrigger(Trigger):
    """Each channel on a few levels, with what rounding loses passed on to pixels not yet rounded.

    Wang, Zhai and Ma 2022, "BppAttack". The error is spread as by Floyd and Steinberg 1976: 7/16 to the right, and
    3/16, 5/16 and 1/16 to the left below, below and to the right below.

    >>> stamped = DitheringTrigger(levels=2).stamp(torch.full((1, 3, 16, 16), 0.25)).images
    >>> sorted(set(stamped.flatten().tolist())), bool(0.2 < stamped.mean() < 0.3)
    ([0.0, 1.0], True)
    """

    kind: Literal["dithering"] = "dithering"
    levels: int = Field(8, ge=2, le=128, description="of each channel")

    def _stamp(self, images: Tensor, rng: Randomness) -> tuple[Tensor, Tensor]:
        highest = self.levels - 1
        values = (images * (highest << _BITS)).round().long().permute(2, 3, 0, 1)
        rounded = torch.from_numpy(_dithered(values.flatten(2).cpu().numpy(), highest))
        levels = rounded.unflatten(2, values.shape[2:]).permute(2, 3, 0, 1).to(images)
        return levels / highest, everywhere(images)


def _dithered(values: NDArray[np.int64], highest: int) -> NDArray[np.int64]:
    """Round fixed-point values (h, w, m) to 0 … ``highest`` and spread the errors, in m planes at once.

    A pixel needs its left neighbour and those above up to one to the right. So all pixels with the same x + 2y are
    rounded at once, which takes w + 2h steps. In an array of w + 2 columns they lie w places apart. (NumPy, whose
    operations on few numbers cost a fraction of torch's.)
    """
    height, width, planes = values.shape
    columns = width + 2
    work = np.zeros((height + 1, columns, planes), dtype=np.int64)
    work[:height, 1:-1] = values
    flat = work.reshape((height + 1) * columns, planes)
    for step in range(width + 2 * (height - 1)):
        first, last = max(0, (step - width + 2) // 2), min(height - 1, step // 2)
        start = first * columns + step - 2 * first + 1
        stop = start + (last - first) * width + 1
        here = flat[start:stop:width]
        rounded = np.minimum(np.maximum((here + (1 << (_BITS - 1))) >> _BITS, 0), highest)
        error = here - (rounded << _BITS)
        here[...] = rounded
        right, left_below, below = (error * 7) >> 4, (error * 3) >> 4, (error * 5) >> 4
        flat[start + 1 : stop + 1 : width] += right
        flat[start + columns - 1 : stop + columns - 1 : width] += left_below
        flat[start + columns : stop + columns : width] += below
        # What is left over, so that nothing is lost to the shifts.
        flat[start + columns + 1 : stop + columns + 1 : width] += error - right - left_below - below
    return work[:height, 1:-1]
